"""The types of the result of `diff`."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ocitool.comparison.notable_rules import Severity
from ocitool.digest import Digest
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Entry, Kind, path_text
from ocitool.progress import Notice
from ocitool.spec.manifest import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocitool.comparison.inside.values import Insides
    from ocitool.packages.changes import PackageChange
    from ocitool.packages.package import Distribution, PackageKind
    from ocitool.policy.acceptance import Acceptance
    from ocitool.policy.budget import BudgetLine
    from ocitool.trees.copied_files import CopiedFiles
    from ocitool.volatile import VolatileClass

Status = Literal["shared", "equivalent", "changed", "added", "removed"]
ChangeKind = Literal["added", "removed", "modified", "type", "metadata"]


class LayerPair(NamedTuple):
    """Two corresponding layers, or a layer without counterpart. `reason`: why the status is not plain `shared`. `cause`:
    the layer of the after image whose change caused the rebuild of this one."""

    status: Status
    before: Layer | None
    after: Layer | None
    reason: str | None = None
    cause: Layer | None = None

    @property
    def same(self) -> bool:
        """Whether the layers are equal and stored with the same bytes."""
        return self.status == "shared" and self.reason is None


class ConfigChange(NamedTuple):
    """A difference of documents. `pointer`: a JSON pointer (RFC 6901) into the after document, for a removed value into the
    before document. `key`: the name of an environment variable."""

    document: Literal["config", "manifest", "index"]
    pointer: str
    key: str | None
    kind: Literal["added", "removed", "modified"]
    before: Any
    after: Any

    @property
    def name(self) -> str:
        """The name of the value: the variable, else the last part of the pointer that is not a position."""
        if self.key is not None:
            return self.key
        parts = self.pointer.split("/")
        last = parts[-2] if parts[-1].isdigit() and len(parts) > 2 else parts[-1]
        return last.replace("~1", "/").replace("~0", "~")


class Side(NamedTuple):
    """A path on one side. `content`: the SHA-256 of a file, None if it was not needed; `links`: all names of a file that
    has several; `holder`: the layer that has the content."""

    entry: Entry
    content: bytes | None
    links: tuple[bytes, ...]
    holder: Layer | None


class FileChange(NamedTuple):
    """A changed path. `layer`: the after image's layer that made the change; None if that cannot be said."""

    path: bytes
    kind: ChangeKind
    fields: tuple[str, ...]
    before: Side | None
    after: Side | None
    layer: Layer | None

    @property
    def name(self) -> str:
        """The path as text, with its leading slash."""
        return path_text(self.path)

    @property
    def size_delta(self) -> int:
        """Bytes by which the file grew."""
        return file_size(self.after) - file_size(self.before)

    @property
    def stored(self) -> int:
        """Bytes of content that were added, removed, or stored again: all of it if only metadata changed."""
        if self.fields in (("mtime",), ("links",)):
            return 0
        return file_size(self.after) or file_size(self.before)

    @property
    def only_mtime(self) -> bool:
        """Whether nothing but the modification time changed."""
        return self.fields == ("mtime",)


GroupKind = Literal["renamed", "added", "removed", "modified", "type", "metadata", "mtime", "mixed"]
Span = Literal["path", "files", "tree"]


class FieldChange(NamedTuple):
    """A field that changed in the same way in all paths of a group. `before`, `after`: of `mode`, `uid` and `gid`, else
    None."""

    field: str
    before: int | None
    after: int | None


class FileGroup(NamedTuple):
    """Changed paths to which the same happened. `kind`: `renamed` has both paths of each renamed file, `mtime` what differs by
    modification time alone, `mixed` changes of several kinds below one directory; each other kind is that of its changes.

    `path`: the path, or the directory; `span`: the path alone, what is right in the directory (`files`), or all below it and
    itself (`tree`). `source`: what a renamed path or directory was before. `layer`: the after image's layer that made the
    changes; None if that cannot be said. `first`: the position in `Diff.files` of a single path, of a renamed one the new path.

    `counts`: changes by kind, two for each renamed path. `renamed`: renamed paths; `edited`: files among them whose content
    changed. `files`: paths that are no directories, a renamed one once; `directories`: the others. `shipped`: bytes of content
    that layers of the after image ship anew or again; a file with several names counts once. `size_delta`: bytes by which
    files grew. `fields`: what changed alike, of kind `metadata`. `largest`: the position of the change that has at least half
    of the bytes of several, -1 if none has."""

    kind: GroupKind
    path: bytes
    span: Span
    source: bytes | None
    layer: Layer | None
    first: int
    counts: dict[ChangeKind, int]
    renamed: int
    edited: int
    files: int
    directories: int
    shipped: int
    size_delta: int
    fields: tuple[FieldChange, ...] = ()
    largest: int = -1

    @property
    def paths(self) -> int:
        """How many changes are in the group."""
        return sum(self.counts.values())

    @property
    def weight(self) -> int:
        """Bytes by which groups are ordered: those that are shipped, or are gone."""
        return max(self.shipped, abs(self.size_delta))


class FileGroups(NamedTuple):
    """The groups, those of most bytes first, and modification times last. `numbers`: of each change the position of its
    group in `groups`, -1 if it is in none. `sources`: of each change the position of the change whose path it was before, -1
    for none; empty if nothing was renamed."""

    groups: tuple[FileGroup, ...] = ()
    numbers: Sequence[int] = ()
    sources: Sequence[int] = ()

    @property
    def renamed(self) -> int:
        """How many paths were renamed, whether they are in a group or not."""
        return len(self.sources) - self.sources.count(-1)


def file_size(side: Side | None) -> int:
    """Returns the bytes of a regular file's content; 0 for anything else."""
    if side is None or side.entry.kind != Kind.FILE:
        return 0
    return side.entry.size


class Quoted(str):
    """A part of a sentence that is text of an image."""

    __slots__ = ()


class NotableFact(NamedTuple):
    """What a rule finds in a file or setting. `said`: the parts of the sentence; those from the image are `Quoted`.
    `severity`: None for that of the rule. `key`: the account or variable that it is about."""

    rule: str
    said: tuple[str, ...]
    severity: Severity | None = None
    key: str | None = None


class Notable(NamedTuple):
    """A change that a reviewer should see first. `said`: the parts of a sentence without the path; those from the image are
    `Quoted`. `key`: the variable, label or account that it is about. `size`: the bytes that it costs. For a deleted file that
    still ships: `holder` is the layer that has the content, `top` the highest path that was deleted with it."""

    rule: str
    path: bytes | None
    pointer: str | None
    layer: Layer | None
    said: tuple[str, ...]
    severity: Severity
    holder: Layer | None = None
    size: int = 0
    top: bytes | None = None
    key: str | None = None
    acceptance: Acceptance | None = None
    """The entry of the policy that names it, if any."""

    @property
    def accepted(self) -> bool:
        """Whether the policy accepts it, so that it meets no rule."""
        return self.acceptance is not None and not self.acceptance.ended

    @property
    def name(self) -> str | None:
        """The path as text, with its leading slash."""
        return None if self.path is None else path_text(self.path)

    @property
    def text(self) -> str:
        """The sentence."""
        return "".join(self.said)


class ChangedPackage(NamedTuple):
    """A package that was added, removed, or has another version. `files`: how many changed files it explains; `grown`: bytes
    by which these grew; `layer`: the layer of the after image that changed most of them."""

    change: PackageChange
    files: int
    grown: int
    layer: Layer | None


class PackageDiff(NamedTuple):
    """The packages that changed, and what follows from that. `owners`: by the path of a changed file, the position in
    `changed` of the package that explains it; `followers`: changed databases, logs and caches, each with the kind of packages
    that it follows. `before`, `after`: the distributions of the packages, None if they were not needed. `whole`: every database
    that differs could be read."""

    changed: tuple[ChangedPackage, ...] = ()
    owners: Mapping[bytes, int] = MappingProxyType({})
    followers: Mapping[bytes, PackageKind] = MappingProxyType({})
    before: Distribution | None = None
    after: Distribution | None = None
    whole: bool = True

    def explains(self, path: bytes) -> bool:
        """Returns whether the change of a path follows from those of packages."""
        return path in self.owners or path in self.followers


class Failure(NamedTuple):
    """A `--fail-on` rule that is met. `platform`: that of the image of an index; `actual`: None if that image was not
    compared. `fired`: the rules of `notable` that met it, each with how often."""

    rule: str
    limit: int | float | str | None
    actual: int | float | str | None
    platform: str | None = None
    fired: tuple[tuple[str, int], ...] = ()


class NotCompared(NamedTuple):
    """An image of an index that was not compared with its counterpart, though their digests differ."""

    platform: Platform
    status: Literal["changed", "added", "removed"]
    before: Digest | None
    after: Digest | None


class Patch(NamedTuple):
    """A unified diff of one text file. `withheld`: the path or the content looks secret, and `text` is empty."""

    path: bytes
    text: str
    withheld: Literal["path", "content"] | None = None

    @property
    def name(self) -> str:
        """The path as text, with its leading slash."""
        return path_text(self.path)


class Summary(NamedTuple):
    """Numbers of added, removed and otherwise changed paths. `mtime_only`: how many of them differ by modification time
    alone. `size_delta`: bytes by which the unpacked image grew. `transfer_bytes`: bytes that a host with the old image must
    fetch. `renamed`: pairs of paths, each of which counts as added and as removed too."""

    added: int
    removed: int
    modified: int
    type: int
    metadata: int
    mtime_only: int
    size_delta: int
    transfer_bytes: int
    transfer_estimated: bool
    renamed: int = 0


class VolatileGroup(NamedTuple):
    """The changed files of one class of volatile paths. `size`: bytes of their contents; `globs`: for `--ignore-path`; none if
    a path is not enough to know that a file is volatile."""

    kind: VolatileClass
    files: int
    size: int
    globs: tuple[str, ...]


class VolatileFiles(NamedTuple):
    """The changes that are noise of the build. `classes`: the name of the class of each path. `groups`: those of most bytes
    first. `layers`: layers that ship again though nothing in them changed but times and volatile files."""

    classes: Mapping[bytes, str] = MappingProxyType({})
    groups: tuple[VolatileGroup, ...] = ()
    layers: tuple[Layer, ...] = ()


class ExtractedFiles(NamedTuple):
    """What `--extract` wrote to `directory`: files of both sides, and their bytes. `links`: how many of them hold the target of
    a symbolic link. `special`: changed devices and pipes, which are left out. `secret`: files whose names look secret."""

    directory: str
    before: int
    after: int
    bytes: int
    links: int
    special: int
    secret: int


class Diff(NamedTuple):
    """What changed from one image to another. `identical`: nothing that was compared differs. `verified`: every layer was
    read and hashed; otherwise stated digests were trusted. `failures`: the rules of `--fail-on` that are met. `patches`:
    None unless they were requested."""

    before_reference: str
    after_reference: str
    before: Image
    after: Image
    identical: bool
    verified: bool
    layers: tuple[LayerPair, ...]
    config: tuple[ConfigChange, ...]
    files: tuple[FileChange, ...]
    notable: tuple[Notable, ...]
    failures: tuple[Failure, ...]
    summary: Summary
    patches: tuple[Patch, ...] | None
    notices: tuple[Notice, ...]
    paths: tuple[str, ...] = ()
    """Globs of the files that were compared, empty for all; `ignored_paths`: globs of files that were left out."""
    ignored_paths: tuple[str, ...] = ()
    settings: bool = True
    """Whether the configuration was compared."""
    not_compared: tuple[NotCompared, ...] = ()
    """The images of two indexes for other platforms, if they differ by digest."""
    images_identical: bool | None = None
    """Whether the two images themselves are identical; None if that is what `identical` says."""
    policy: str | None = None
    """The file of the policy, None without one."""
    budget: tuple[BudgetLine, ...] | None = None
    """The limits of the policy's budget, None if there is none or only some files were compared."""
    packages: PackageDiff | None = None
    """None if only some files were compared and no database of packages is one of them."""
    groups: FileGroups = FileGroups()
    """The changes of `files` by what happened to them."""
    volatile: VolatileFiles = VolatileFiles()
    ignored_volatile: bool = False
    """Whether volatile files were left out."""
    inside: Insides | None = None
    """What changed inside files; None if there was none to look into."""
    extracted: ExtractedFiles | None = None
    """What was written of both sides; None unless that was requested."""
    copied: CopiedFiles | None = None
    """For a container: the files of its image that it copied up."""

    @property
    def same(self) -> bool:
        """Whether the two compared images are identical, whatever other images the indexes list."""
        return self.identical if self.images_identical is None else self.images_identical

    @property
    def shared(self) -> tuple[int, int]:
        """The number of shared layers, and their stored bytes in the after image."""
        sizes = [pair.after.size for pair in self.layers if pair.status == "shared" and pair.after]
        return len(sizes), sum(sizes)


class PlatformDiff(NamedTuple):
    """The images of one platform in two indexes. `diff`: None if the image is on one side only, or a manifest is missing.
    `notable`: what is notable in an added image. `before`, `after`: digests of the manifests."""

    platform: Platform
    status: Literal["both", "added", "removed"]
    diff: Diff | None
    notable: tuple[Notable, ...] = ()
    before: Digest | None = None
    after: Digest | None = None


class IndexDiff(NamedTuple):
    """What changed from one index to another, by platform. `config`: other differences of the index documents.
    `index_failures`: rules of `--fail-on` that these differences meet, or platforms that were added, removed or could not
    be compared."""

    before_reference: str
    after_reference: str
    identical: bool
    verified: bool
    platforms: tuple[PlatformDiff, ...]
    config: tuple[ConfigChange, ...]
    notices: tuple[Notice, ...]
    index_failures: tuple[Failure, ...] = ()
    before_digest: Digest | None = None
    """The digest of the index document, None if the reference does not name a single index; likewise `after_digest`."""
    after_digest: Digest | None = None

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The rules that are met, each with the platform that meets it."""
        found = ((entry.platform, failure) for entry in self.platforms if entry.diff for failure in entry.diff.failures)
        return self.index_failures + tuple(failure._replace(platform=str(platform)) for platform, failure in found)
