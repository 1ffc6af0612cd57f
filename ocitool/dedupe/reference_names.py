"""Finds references by which any command can name the images of a source: with a name only if one image has it, and it
cannot be taken for an option."""

from __future__ import annotations

from ocitool import reference
from ocitool.digest import Digest
from ocitool.images.index_children import tags_of
from ocitool.images.select import Group
from ocitool.spec.manifest import Descriptor
from ocitool.transports.opening import Opened


class ReferenceNames:
    """The references of the images of one source. `only_one`: it has one image and nothing else. `expected`: how many
    images it may hold. Cost: one step for each name."""

    def __init__(self, name: str, opened: Opened) -> None:
        source = opened.source
        self._given = name
        self._name = name.rstrip("/") or name
        self._opened = opened
        self._owners: dict[str, object] = {}
        """What has a name first: the digest of a manifest, or the number of a record."""
        self._more_owners: dict[str, set[object]] = {}
        """For names that several have: all of them."""
        manifests: list[Descriptor] = []
        digests: set[Digest] = set()
        if source.index is not None:
            manifests = [one for one in source.index.manifests if not one.is_attestation]
            digests = {one.digest for one in manifests}
            # A manifest that has names in an archive has one entry for each of them, all with the same names.
            for tags, digest in {(tags_of(source, one), one.digest) for one in manifests} if not source.remote else ():
                self._note(tags, digest)
        records = [record for record in source.records if record.instead_of is None]
        for number, record in enumerate(records):
            self._note(record.tags, number)
        self.expected = len(manifests) + len(records)
        self.only_one = len(digests) + len(records) == 1

    def _note(self, tags: tuple[str, ...], owner: object) -> None:
        for tag in tags:
            name = reference.qualified(tag)
            if (first := self._owners.setdefault(name, owner)) != owner:
                self._more_owners.setdefault(name, {first}).add(owner)

    def of(self, group: Group) -> str:
        """Returns the reference of a group."""
        source, selector = self._opened.source, self._opened.selector
        if selector is not None or source.remote:
            return self._given
        if self.only_one and not source.transport.store:
            return self._name
        digests = {entry.descriptor.digest for entry in group.entries}
        for tag in group.tags:
            name = reference.qualified(tag)
            owners = self._more_owners.get(name)
            alone = name in self._owners or digests if owners is None else digests and owners <= digests
            if alone and not tag.startswith(("@", "-")):
                return f"{self._name}:{tag}"
        if self.only_one:
            return self._name
        return f"{self._name}:@{group.entries[0].descriptor.digest}" if group.entries else f"{self._name}:@{group.position}"
