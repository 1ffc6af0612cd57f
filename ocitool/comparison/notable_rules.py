"""The table of the rules of `notable`: what each finds, and how grave that is."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Severity = Literal["security", "cost", "info"]
"""Classes of notable changes, the gravest first. `security`: it may give access, or disclose a secret. `cost`: it
costs bytes that could be saved, or the limit of an engine. `info`: an ordinary update brings this too."""

SEVERITIES: tuple[Severity, ...] = get_args(Severity)


class NotableRule(NamedTuple):
    """A rule. `severity`: of what it finds, unless `finds` says that some of it is of another class. `alone`: it also speaks
    of one image, without another to compare with."""

    severity: Severity
    finds: str
    alone: bool = False


RULES = {
    "secret-content": NotableRule("security", (
        "a file holds a private key, a token of a known form, or credentials (`.npmrc`, `.netrc`, `.git/config`, "
        "`.docker/config.json` and the like), and is new or changed"
    ), alone=True),
    "secret-file": NotableRule("security", (
        "a file whose path looks secret (keys, `.env`, `.npmrc`) is new or changed; `info` if it was read and holds none (a "
        "public certificate, settings without credentials)"
    ), alone=True),
    "secret-env": NotableRule("security", "a variable has a value that looks secret, new or changed", alone=True),
    "secret-label": NotableRule("security", "the same of a label or annotation", alone=True),
    "secret-command": NotableRule("security", "the same of a command, an instruction or another setting", alone=True),
    "engine-exploit": NotableRule("security", (
        "what engines were exploited by, each with its advisory: an entry of `Env` without `=`, labels of containerd's "
        "restart monitor, `WorkingDir` or a command below `/proc/self`, volumes with `..` or over `/proc`, a user above "
        "2147483647, line breaks in `HOME`, a link at `/proc`, `/dev`, `/etc/passwd` or `/etc/group`, one of the last two "
        "above 1 MiB"
    ), alone=True),
    "setuid": NotableRule("security", "a setuid file is new, has another owner or group, or more users may run it", alone=True),
    "setgid": NotableRule("security", (
        "a setgid file is new, has another owner or group, or more users may run it; a setgid directory is new"
    ), alone=True),
    "setuid-content": NotableRule("security", "the content of a setuid or setgid file changed"),
    "capability": NotableRule("security", (
        "file capabilities are new or changed; a file that has some has another content or owner, or more users may run it"
    ), alone=True),
    "device": NotableRule("security", "a device is new, has another number or owner, or more permissions", alone=True),
    "user-root": NotableRule("security", "`USER` is root now; of one image that it is root, as `info`", alone=True),
    "user": NotableRule("info", "`USER` was another one; neither is root"),
    "loader": NotableRule("security", (
        "what decides which code programs load: `LD_PRELOAD`, `PYTHONPATH`, `NODE_OPTIONS` and the like, `/etc/ld.so.preload`, "
        "`sitecustomize.py`; a changed `ld.so.conf` is `info`"
    ), alone=True),
    "path-prefix": NotableRule("security", (
        "`PATH` begins with other directories than before, or has one that every user may write or that depends on the working "
        "directory; other changes of `PATH` are `info`"
    ), alone=True),
    "interpreter": NotableRule("security", (
        "`/bin/sh`, `python3`, `/lib64` or the like links to another target; another version of it is `info`"
    )),
    "command": NotableRule("security", "`Entrypoint`, `Cmd`, `Shell`, `Healthcheck` or `OnBuild` changed"),
    "accounts": NotableRule("security", (
        "`passwd`, `shadow`, `group`, `sudoers`, PAM or `authorized_keys` changed: accounts by name, never their passwords; "
        "accounts that open nothing, and dates in `shadow`, are `info`"
    ), alone=True),
    "cron": NotableRule("security", "a scheduled command is new or changed"),
    "trust": NotableRule("security", (
        "certificates of authorities or keys of signers were added or changed; the system's bundle of authorities is `info`"
    ), alone=True),
    "package-source": NotableRule("security", (
        "packages (apt, yum, apk, zypper, pip, npm) come from a new host, or without a check of signatures; other changes of "
        "these files are `info`"
    ), alone=True),
    "package-file-changed": NotableRule("security", (
        "a file changed though the package that installed it did not; a setting, a document or a mode is `info`. Looked for if "
        "a database of packages differs"
    )),
    "package-downgraded": NotableRule("security", "a package has an older version than before"),
    "acl": NotableRule("security", "an access control list is new or changed"),
    "world-writable": NotableRule("security", "every user may write a file, or a directory without sticky bit", alone=True),
    "port": NotableRule("security", "a port is new"),
    "volume": NotableRule("security", "a volume is new"),
    "deleted-still-ships": NotableRule("cost", (
        "a path is deleted, or overwritten (a secret by anything, any file by an empty one), but a lower layer still has the "
        "content: `shippedBy` names it; `security` if the path looks secret or the file was emptied, `info` if the layer hides "
        "less than 1 MB"
    ), alone=True),
    "unshared-layer": NotableRule("info", (
        "a layer cannot be shared any more; `cost` if it stores at least 50 MB again of files that did not change, unless the "
        "lowest layer is the cause"
    )),
    "layer-count": NotableRule("cost", (
        "the image has more than 120 layers, and more than before: dockerd runs at most 125"
    ), alone=True),
}  # fmt: skip
"""The rules, the gravest first; `severity` decides over this order."""

GROUPS = {"secret": tuple(name for name in RULES if name.startswith("secret-"))}
"""Names for several rules at once."""


def chosen(names: str) -> frozenset[str]:
    """Returns the rules and classes that a list with commas names. Raises `ValueError` with the first unknown name."""
    found: list[str] = []
    for name in names.split(","):
        if name == "notable":
            found += ("security", "cost")
        elif name in GROUPS:
            found += GROUPS[name]
        elif name in RULES or name in SEVERITIES:
            found.append(name)
        else:
            raise ValueError(name)
    return frozenset(found)
