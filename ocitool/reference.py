"""The grammar of references: `transport:details` as in containers-transports(5), or a plain path.

Uses no disk and no network. A path may contain colons, so its end is decided when it is opened: `Reference.splits`
lists the possibilities, the longest path first.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ocitool.digest import Digest
from ocitool.errors import FormatError, UsageError
from ocitool.patterns import pattern

DEFAULT_HOST = "docker.io"


class Transport(NamedTuple):
    """A kind of place where images are: what is known of all such places. `transports.opening` opens them to read,
    `transports.destinations` to write.

    name: as reports state it. prefix: what a reference to such a place begins with; None if only the content tells it.
    """

    name: str
    prefix: str | None
    remote: bool = False
    """Each look costs a request, and a reference names a repository; else it names a path."""
    directory: bool = False
    """The path is that of a directory, else of a file."""
    store: bool = False
    """A directory that keeps the blobs of many images once, under names that can be moved: what no name leads to can be
    collected."""
    archive: bool = False
    """One file with all that its images need, and their names in full: a command that writes there writes all of it."""
    stream: bool = False
    """Standard input or output: it has no path, and nothing can be looked up there afterwards."""
    manifests: bool = True
    """Its images have manifests; else these are made when an image is written elsewhere."""
    image_names: bool = False
    """Names are those that engines take, in a reference to it too."""
    engine: bool = False
    """An engine's store: a reference names an image by name or id, and no path; there is one such place for each command."""
    written: bool = True
    packed: str | None = None
    """The name of the transport that has the same in one file."""


REGISTRY = Transport("docker", "docker://", remote=True)
LAYOUT = Transport("oci", "oci:", directory=True, store=True, packed="oci-archive")
OCI_ARCHIVE = Transport("oci-archive", "oci-archive:", archive=True)
DOCKER_ARCHIVE = Transport("docker-archive", "docker-archive:", archive=True, manifests=False, image_names=True)
DIRECTORY = Transport("dir", "dir:", directory=True, written=False)
ENGINE = Transport("docker-daemon", "docker-daemon:", archive=True, manifests=False, image_names=True, engine=True)
STREAM = Transport("-", None, archive=True, stream=True)
TRANSPORTS = (REGISTRY, DOCKER_ARCHIVE, OCI_ARCHIVE, LAYOUT, DIRECTORY, ENGINE)
"""Those that a reference names."""
PREFIX = "docker://"
"""What a reference to a registry begins with."""
LOCAL = tuple(one.prefix for one in TRANSPORTS if one.prefix is not None and not (one.remote or one.engine))
"""What references to files and directories begin with."""


class Selector(NamedTuple):
    """Selects one image of several: by name, position (`@N`) or digest. One of the three is set."""

    text: str
    name: str | None = None
    position: int | None = None
    digest: Digest | None = None


class Reference(NamedTuple):
    """A reference. `transport` is None for a plain path, whose content decides; `-` is standard input."""

    text: str
    transport: Transport | None
    details: str

    def splits(self) -> Iterator[tuple[str, str | None]]:
        """Yields (path, selector text or None), the longest path first."""
        yield self.details, None
        end = len(self.details)
        while (end := self.details.rfind(":", 0, end)) > 0:
            yield self.details[:end], self.details[end + 1 :]


class Repository(NamedTuple):
    """A repository of a registry, with the tag or digest that is meant. `host` is as users write it: `docker.io`,
    `localhost:5000`."""

    host: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """`host/path`."""
        return f"{self.host}/{self.path}"

    def __str__(self) -> str:
        tag, digest = f":{self.tag}" if self.tag else "", f"@{self.digest}" if self.digest else ""
        return f"{PREFIX}{self.name}{tag}{digest}"


def parse(text: str) -> Reference:
    """Parses a reference. Raises `UsageError` for an empty one."""
    for transport in TRANSPORTS:
        if transport.prefix is not None and text.startswith(transport.prefix):
            details = text[len(transport.prefix) :]
            if not details and not transport.remote:
                needed = "the name or id of an image" if transport.engine else "a path"
                raise UsageError(f"{transport.prefix} needs {needed}", text)
            return Reference(text, transport, details)
    if not text:
        raise UsageError("an empty reference")
    return Reference(text, None, text)


def parse_repository(details: str) -> Repository:
    """Parses what follows `docker://`: `[HOST/]PATH[:TAG][@DIGEST]` (distribution's grammar of references).

    The first part is a host only if it has a dot or colon, or is `localhost`; a path of one part at Docker Hub is in
    `library/`. Raises `UsageError`.
    """
    where = PREFIX + details
    rest, at, stated = details.partition("@")
    try:
        digest = Digest.parse(stated) if at else None
    except FormatError:
        raise UsageError(f"invalid digest: {stated}", where) from None
    if rest.endswith("/") or "//" in rest:
        raise UsageError("a repository is needed, and maybe a tag", where, hint="docker://HOST/REPOSITORY[:TAG|@DIGEST]")
    first, slash, path = rest.partition("/")
    if not (slash and is_host(first)):
        first, path = DEFAULT_HOST, rest
    path, _, tag = path.partition(":")
    if rest.endswith(":") or (tag and not _TAG.fullmatch(tag)):
        raise UsageError(f"invalid tag: {tag or 'it is empty'}", where)
    if not is_path(path):
        hint = "small letters, digits and . _ - in parts between slashes"
        raise UsageError(f"invalid repository name: {path or 'it is empty'}", where, hint=hint)
    host = host_name(first)
    if host == DEFAULT_HOST and "/" not in path:
        path = f"library/{path}"
    return Repository(host, path, tag or None, digest)


def parse_engine_image(details: str) -> str:
    """Returns what an engine is asked for by what follows `docker-daemon:`: `NAME:TAG` (`latest` if no tag is given),
    `NAME[:TAG]@DIGEST`, or `sha256:ID`. Raises `UsageError`."""
    where = f"{ENGINE.prefix}{details}"
    name, at, digest = details.partition("@")
    stated = digest if at else details if details.startswith("sha256:") else None
    if stated is not None:
        try:
            Digest.parse(stated)
        except FormatError:
            raise UsageError(f"invalid digest: {stated}", where, hint="an id has all of its 64 digits") from None
    if stated == details:
        return details
    if not is_image_name(name):
        hint = "NAME[:TAG], NAME@sha256:... or sha256:ID"
        raise UsageError(f"invalid image name: {name or 'it is empty'}", where, hint=hint)
    return details if at or ":" in name.rpartition("/")[2] else f"{name}:latest"


def at_registry(text: str) -> Repository | None:
    """Returns the repository that a reference names, None if it names a file. Raises `UsageError`."""
    return parse_repository(text[len(PREFIX) :]) if text.startswith(PREFIX) else None


def host_name(text: str) -> str:
    """Returns a registry's host in its normal form: Docker Hub has several names. Raises `UsageError`."""
    if not _HOST.fullmatch(text):
        raise UsageError(f"invalid host: {text}", hint="HOST[:PORT], as in registry.example:5000")
    return DEFAULT_HOST if text.lower() in ("docker.io", "index.docker.io", "registry-1.docker.io") else text.lower()


def host_of(text: str) -> str | None:
    """Returns the host that a reference names, None if it names a file."""
    if not text.startswith(PREFIX):
        return None
    first, slash, _ = text[len(PREFIX) :].partition("/")
    if is_host(first):
        return host_name(first)
    return DEFAULT_HOST if slash or first else None


def is_path(text: str) -> bool:
    """Returns whether it is the path of a repository."""
    return len(text) <= _LONGEST_PATH and _PATH.fullmatch(text) is not None


def is_host(part: str) -> bool:
    """Returns whether the first part of a name is a host, and not of the path."""
    return "." in part or ":" in part or part == "localhost"


def parse_selector(text: str) -> Selector:
    """Parses `NAME[:TAG]`, `@N` or `@ALGORITHM:HEX`. Raises `UsageError`."""
    if not text.startswith("@"):
        if not text:
            raise UsageError("an empty name behind the colon")
        return Selector(text, name=text)
    if text[1:].isascii() and text[1:].isdigit() and len(text) < 10:
        return Selector(text, position=int(text[1:]))
    try:
        return Selector(text, digest=Digest.parse(text[1:]))
    except FormatError:
        raise UsageError(f"{text} is neither @N nor @sha256:...", hint="positions count from 0") from None


def qualified(name: str) -> str:
    """Returns a name with its defaults: `app` becomes `docker.io/library/app:latest`. A digest after `@` stays."""
    first, slash, _ = name.partition("/")
    if not slash or not is_host(first):
        name = f"docker.io/{name}" if slash else f"docker.io/library/{name}"
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE_NAME = pattern(
    rf"(?:(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?", re.ASCII
)
_PATH = pattern(rf"{_PART}(?:/{_PART})*", re.ASCII)
_TAG = pattern(r"\w[\w.-]{0,127}", re.ASCII)
_HOST = pattern(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?", re.ASCII)
_LONGEST_PATH = 255
_LAYOUT_NAME = pattern(r"[A-Za-z0-9_][A-Za-z0-9_.:@+/-]{0,511}")


def is_image_name(text: str) -> bool:
    """Returns whether engines accept it as `NAME[:TAG]` (distribution's grammar of references)."""
    return _IMAGE_NAME.fullmatch(text) is not None


_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_LOADED = pattern(rf"(?:{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*:\w[\w.-]{{0,127}}", re.ASCII)


def is_loadable(name: str) -> bool:
    """Returns whether `docker load` accepts it in RepoTags (tried with 20.10): a name with a tag. It refuses the whole archive
    for any other."""
    stem, at, digest = name.partition("@")
    if ":" not in stem.rpartition("/")[2]:
        return False
    if at:
        try:
            Digest.parse(digest)
        except FormatError:
            return False
    full = qualified(stem)
    return _LOADED.fullmatch(full) is not None and len(full.rpartition(":")[0]) <= _LONGEST_PATH


def is_layout_name(text: str) -> bool:
    """Returns whether it may be a `ref.name` (image-spec annotations.md, slightly wider)."""
    return _LAYOUT_NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


DIGEST_TAG = pattern(
    r"(?:.*:)?(?P<algorithm>[a-z0-9]+)-(?P<encoded>[0-9a-f]{64,128})(?:\.(?P<kind>[A-Za-z0-9._-]+))?", re.DOTALL
)
"""Tags, or names with such a tag, that speak of a digest: cosign's `sha256-<hex>.sig`, `.att` and `.sbom`, those of other tools
in the same manner (`.imgpkg`, `.image-locations.imgpkg`), and the referrers tag schema (no suffix)."""


def is_digest_tag(name: str) -> bool:
    """Returns whether a tag, or a name's tag, is one of cosign's or names a list of referrers."""
    return DIGEST_TAG.fullmatch(name) is not None


def short_name(name: str) -> str:
    """Returns a name without its host, and without Docker Hub's `library/`: `team/app:1`. A missing tag becomes
    `latest`."""
    where = parse_repository(qualified(name))
    path = where.path.removeprefix("library/") if where.host == DEFAULT_HOST else where.path
    return f"{path}:{where.tag or 'latest'}"


_LONGEST_NAME = 512


def suffixes(name: str, marks: str) -> Iterator[str]:
    """Yields what follows each of these characters in a name, within the length that a name of a layout may have."""
    for at in range(max(0, len(name) - _LONGEST_NAME), len(name)):
        if name[at] in marks:
            yield name[at + 1 :]


def is_bare(name: str) -> bool:
    """Returns whether it is a tag alone, as layouts have them: it names no repository."""
    return "/" not in name and ":" not in name


def canonical(name: str) -> str:
    """Returns one form for all spellings of a name: qualified, or a bare tag unchanged."""
    return name if is_bare(name) else qualified(name)


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the names in order; of several spellings of one name the first."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(canonical(name), name)
    return tuple(found.values())


def without_host(name: str) -> str | None:
    """Returns `PATH:TAG` of a name, `latest` if it has no tag; None for a bare tag, and for an invalid name."""
    try:
        return None if is_bare(name) else short_name(name)
    except UsageError:
        return None


def names_host(name: str) -> bool:
    first, slash, _ = name.partition("/")
    return bool(slash) and is_host(first)


def matches(name: str, tags: tuple[str, ...]) -> bool:
    """Returns whether one of an image's tags is this name: literally, as a qualified name, or as a layout's bare tag."""
    return name in tags or any(qualified(name) == qualified(tag) for tag in tags if not is_bare(tag))
