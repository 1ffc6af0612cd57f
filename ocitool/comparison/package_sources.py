"""Where package managers of an image take packages from, and whether they check signatures."""

from __future__ import annotations

from ocitool.comparison.result import NotableFact, Quoted
from ocitool.patterns import byte_pattern

_ADDRESS = byte_pattern(
    rb"\b(?:https?|ftp|file|mirror\+https?|mirror|tor\+https?|s3|ssh|git\+https?|git\+ssh)://?(?:[^\s/@'\"]*@)?([^\s/'\",;\]}:]*)"
)
_UNCHECKED = byte_pattern(
    rb"(?im)^[ \t]*+(?:deb(?:-src)?[ \t]++\[[^\]\n]*?\b(?:trusted|allow-insecure)[ \t]*+=[ \t]*+yes"
    rb"|(?:trusted|allow-insecure)[ \t]*+:[ \t]*+yes|(?:gpgcheck|sslverify)[ \t]*+=[ \t]*+(?:0|no|false)|trusted-host[ \t]*+="
    rb"|strict-ssl[ \t]*+=[ \t]*+false|siglevel[ \t]*+=[ \t]*+never)"
    rb"|Allow(?:Unauthenticated|InsecureRepositories)[ \t]++\"?(?:true|1|yes)"
)
_MOST = 5


def kind_of(path: bytes) -> str:
    """Returns which package manager reads the file: hosts that move from one of its files to another are no news."""
    for word in ("apt", "apk", "yum", "dnf", "zypp", "pip", "npm", "pacman"):
        if word.encode() in path:
            return "yum" if word == "dnf" else word
    return ""


def hosts(data: bytes) -> set[bytes]:
    """Returns the hosts of all addresses outside of comments."""
    return {found.lower() for line in _lines(data) for found in _ADDRESS.findall(line)}


def changed(before: bytes | None, after: bytes, known: set[bytes]) -> tuple[NotableFact, ...] | None:
    """Returns what is notable in another file of sources; None if it names none. `known`: the hosts that files of the same
    package manager named before."""
    found = hosts(after)
    unchecked = _UNCHECKED.search(b"\n".join(_lines(after))) is not None
    if unchecked and (before is None or _UNCHECKED.search(b"\n".join(_lines(before))) is None):
        return (NotableFact("package-source", ("packages are taken without a check of their signatures or of the server",)),)
    new = sorted(found - known)
    if new:
        said: list[str] = ["packages come from another source: "]
        for number, host in enumerate(new[:_MOST]):
            said += [", "] if number else []
            said.append(Quoted(host.decode("utf-8", "backslashreplace") or "a local directory"))
        said += [f" and {len(new) - _MOST:,} more"] if len(new) > _MOST else []
        return (NotableFact("package-source", tuple(said)),)
    if not found and not unchecked:
        return None
    return (NotableFact("package-source", ("settings of the sources of packages changed, not their hosts",), "info"),)


def _lines(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if not line.lstrip().startswith((b"#", b";"))]
