"""Tables of paths and variables that decide on permissions and on the code that runs, for the rules of `notable`."""

from __future__ import annotations

from re import DOTALL
from typing import Any, Literal, NamedTuple

from ocitool.comparison.notable_rules import Severity
from ocitool.masking.files import secret_path
from ocitool.patterns import byte_pattern, pattern


class PathRole(NamedTuple):
    """The meaning of a file at a path: the rule it is reported under, the text and the severity. `content`: what its content
    is compared as, if that says more than the path. `alone`: the path is notable in one image without another."""

    rule: str
    text: str
    severity: Severity = "security"
    content: Literal["passwd", "shadow", "group", "sources", "secret"] | None = None
    alone: bool = False


_PLACES: tuple[tuple[Any, PathRole], ...] = (
    (byte_pattern(rb"etc/g?shadow-?"), PathRole("accounts", "who may log in", "info", "shadow")),
    (byte_pattern(rb"etc/sub[ug]id-?"), PathRole("accounts", "who may log in", "info")),
    (byte_pattern(rb"etc/passwd-?"), PathRole("accounts", "who may log in, or act as others", content="passwd")),
    (byte_pattern(rb"etc/group-?"), PathRole("accounts", "who may log in, or act as others", content="group")),
    (byte_pattern(rb"etc/(?:doas\.conf|sudoers|sudoers\.d/.+)"),
     PathRole("accounts", "who may log in, or act as others", alone=True)),
    (byte_pattern(rb"etc/(?:polkit-1/.+|pam\.d/.+|pam\.conf|security/.+\.conf"
                rb"|ssh/sshd_config(?:\.d/.+)?|login\.defs|nsswitch\.conf)"),
     PathRole("accounts", "who may log in, or act as others")),
    (byte_pattern(rb"(?:.*/)?\.ssh/(?:authorized_keys2?|rc|environment)|(?:.*/)?\.(?:rhosts|shosts)|etc/hosts\.equiv"),
     PathRole("accounts", "who may log in", alone=True)),
    (byte_pattern(rb"etc/ld\.so\.preload|etc/ld-musl-[^/]*\.path|etc/environment|(?:.*/)?(?:site|user)customize\.py"),
     PathRole("loader", "decides which code programs load", alone=True)),
    (byte_pattern(rb"etc/ld\.so\.conf(?:\.d/.+)?"), PathRole("loader", "decides which code programs load", "info")),
    (byte_pattern(rb"etc/(?:crontab|anacrontab|cron\.(?:d|hourly|daily|weekly|monthly)/.+)|var/spool/(?:cron|at)/.+"
                rb"|(?:etc|usr/lib)/systemd/(?:system|user)/.+\.timer"), PathRole("cron", "commands that are run by time")),
    (byte_pattern(rb"usr/local/share/ca-certificates/.+|etc/pki/ca-trust/source/.+|etc/ca-certificates/trust-source/.+"
                rb"|etc/apt/(?:trusted\.gpg(?:\.d/.+)?|keyrings/.+)|etc/pki/rpm-gpg/.+|etc/apk/keys/.+|etc/containers/policy\.json"),
     PathRole("trust", "which signatures and certificates count", alone=True)),
    (byte_pattern(rb"etc/(?:ssl/(?:cert\.pem|certs/ca-(?:certificates|bundle)\.crt|ca-bundle\.pem)|pki/tls/(?:cert\.pem|certs/ca-bundle.*)"
                rb"|pki/ca-trust/extracted/.+|ca-certificates\.conf)|(?:.*/)?(?:cacerts|certifi/cacert\.pem)"
                rb"|(?:usr/)?lib/ssl/cert\.pem|usr/share/ca-certificates/.*/?ca-bundle.*"),
     PathRole("trust", "which certificates count", "info")),
    (byte_pattern(rb"etc/(?:apt/(?:sources\.list(?:\.d/.+)?|apt\.conf(?:\.d/.+)?|preferences(?:\.d/.+)?)|yum(?:/yum)?\.conf|dnf/dnf\.conf"
                rb"|yum\.repos\.d/.+|zypp/(?:repos\.d/.+|zypp\.conf)|apk/repositories(?:\.d/.+)?|pacman\.(?:conf|d/.+)|pip\.conf|npmrc)"
                rb"|(?:.*/)?\.?pip/pip\.conf|usr/local/etc/npmrc"),
     PathRole("package-source", "where packages come from", content="sources")),
    (byte_pattern(rb"(?:.*/)?\.git/config|(?:.*/)?\.hg/hgrc|(?:.*/)?\.svn/wc\.db"),
     PathRole("secret-file", "a repository's own files, with its addresses and maybe its credentials", content="secret",
              alone=True)),
)  # fmt: skip
_SECRET = PathRole("secret-file", "a file whose path looks secret", content="secret", alone=True)


_BELOW = (b"etc/", b"usr/local/share/ca-", b"usr/local/etc/npmrc", b"usr/lib/s", b"usr/share/ca-", b"var/spool/", b"lib/ssl/")
_CALLED = frozenset(
    b"authorized_keys authorized_keys2 rc environment .rhosts .shosts sitecustomize.py usercustomize.py cacerts cacert.pem "
    b"config hgrc wc.db pip.conf".split()
)
"""Directories and file names of all paths that `_PLACES` can match: they rule out most paths without a regular
expression."""


def rule(path: bytes) -> PathRole | None:
    """Returns the role of a path, or None."""
    if path.startswith(_BELOW) or path.rpartition(b"/")[2] in _CALLED:
        for pattern, place in _PLACES:
            if pattern.fullmatch(path):
                return place
    return _SECRET if secret_path(path) else None


def rule_of_link(path: bytes) -> PathRole | None:
    """Returns the role of a symbolic link: its own, or that of the files in it if it stands for a directory such as
    `/etc/sudoers.d`. None if it has none."""
    inside = rule(path + b"/link") if path.startswith(_BELOW) else None
    return rule(path) or (inside if inside is not _SECRET else None)


_VARIABLES = """
    LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT LD_ORIGIN_PATH GCONV_PATH GLIBC_TUNABLES PYTHONPATH PYTHONHOME PYTHONSTARTUP
    PYTHONINSPECT PYTHONBREAKPOINT NODE_OPTIONS NODE_PATH RUBYOPT RUBYLIB PERL5OPT PERL5LIB PERL5DB JAVA_TOOL_OPTIONS
    _JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH BASH_ENV SHELLOPTS PROMPT_COMMAND PHPRC PHP_INI_SCAN_DIR DOTNET_STARTUP_HOOKS
    DOTNET_ADDITIONAL_DEPS CORECLR_PROFILER CORECLR_PROFILER_PATH LUA_INIT LUA_PATH LUA_CPATH OPENSSL_CONF OPENSSL_ENGINES
    GIT_SSH_COMMAND GIT_EXEC_PATH SSL_CERT_FILE SSL_CERT_DIR NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED
    REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
"""
LOADER_VARIABLES = frozenset(_VARIABLES.split())
"""Environment variables that decide which code programs load, or which certificates they trust."""

PRELOADING = frozenset(
    ("LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "PROMPT_COMMAND", "PYTHONSTARTUP", "NODE_TLS_REJECT_UNAUTHORIZED")
)
"""Those of them that ordinary images do not set."""

_NAMES = frozenset(
    b"sh bash dash ash ksh zsh busybox env sudo su login python python2 python3 perl ruby node nodejs php java tini dumb-init "
    b"awk cc ld".split()
)
_DIRECTORIES = frozenset((b"bin", b"sbin", b"usr/bin", b"usr/sbin", b"usr/local/bin", b"usr/local/sbin"))
_ROOTS = _DIRECTORIES | {b"lib", b"lib32", b"lib64", b"libx32", b"usr/lib", b"usr/lib64", b"usr/local/lib"}
_LINKER = byte_pattern(rb"(?:usr/)?lib(?:32|64|x32)?/(?:[^/]+/)?(?:ld-linux[^/]*|ld-musl-[^/]*|ld64?)\.so(?:\.[0-9]+)*")


def interpreter(path: bytes) -> bool:
    """Returns whether a link at this path decides what runs scripts or programs."""
    directory, _, name = path.rpartition(b"/")
    return (directory in _DIRECTORIES and name in _NAMES) or path in _ROOTS or _LINKER.fullmatch(path) is not None


def version(path: bytes, target: bytes) -> bool:
    """Returns whether a link leads to a version of itself in the same directory, as python3 to python3.12 does."""
    name = path.rpartition(b"/")[2]
    return target.startswith(name) and b"/" not in target and not target[len(name) :].strip(b"0123456789.-")


REPLACED = {
    b"proc": "CVE-2019-19921, CVE-2023-28642", b"dev": "CVE-2026-41579",
    b"etc/passwd": "CVE-2024-9676", b"etc/group": "CVE-2024-9676",
}  # fmt: skip
"""Paths at which engines were exploited by a link, with the advisories."""

_OF_PROCESS = pattern(r"/proc/(?:self|thread-self|[0-9]+)(?:/(?:exe|fd|cwd|root|task).*)?")


def of_process(target: str) -> bool:
    """Returns whether a path leads to a file of a running process, which may be one of the host."""
    return _OF_PROCESS.fullmatch(target) is not None


_PROGRAMS = byte_pattern(
    rb"(?:^|/)(?:(?:usr/)?lib(?:32|64|exec)?|usr/share|usr/include|usr/src|(?:site|dist)-packages|node_modules|gems|vendor|pkg/mod"
    rb"|registry/src|testdata|tests?|examples?)/"
)
_NEVER_PACKAGED = byte_pattern(
    rb"etc/ld\.so\.preload|etc/environment|(?:.*/)?\.ssh/.*|(?:root|home)/.*|etc/sudoers\.d/(?!README$).+"
    rb"|usr/local/share/ca-certificates/.*", DOTALL,
)  # fmt: skip


def program(path: bytes) -> bool:
    """Returns whether a path is below a directory of programs and their examples: tokens in these are hardly those of the
    image."""
    return _PROGRAMS.search(path) is not None


def never_packaged(path: bytes) -> bool:
    """Returns whether no package has a file at a path, whatever a database says."""
    return _NEVER_PACKAGED.fullmatch(path) is not None and not program(path)
