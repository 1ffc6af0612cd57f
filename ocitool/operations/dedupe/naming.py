"""What names the images of a source to any command: a name only where it is that of one image, and can be no option."""

from __future__ import annotations

from ocitool import reference
from ocitool.images.select import Group, tags_of
from ocitool.transports.opening import Opened


class Names:
    """`alone`: the source holds one image and nothing else. `expected`: how many it may hold. Cost: one look at each name."""

    def __init__(self, name: str, opened: Opened) -> None:
        source = opened.source
        self._given = name
        self._name = name.rstrip("/") or name
        self._opened = opened
        self._owners: dict[str, set[object]] = {}
        if source.index is not None:
            manifests = [one for one in source.index.manifests if not one.is_attestation]
            self.expected = len(manifests)
            self.alone = len({one.digest for one in manifests}) == 1
            # A manifest that has names in an archive has one entry for each of them, all with the same names.
            for tags, digest in {(tags_of(source, one), one.digest) for one in manifests} if not source.remote else ():
                self._note(tags, digest)
        else:
            self.expected = len(source.records)
            self.alone = self.expected == 1
            for number, record in enumerate(source.records):
                self._note(record.tags, number)

    def _note(self, tags: tuple[str, ...], owner: object) -> None:
        for tag in tags:
            self._owners.setdefault(reference.qualified(tag), set()).add(owner)

    def of(self, group: Group, position: int) -> str:
        source, selector = self._opened.source, self._opened.selector
        if selector is not None or source.remote:
            return self._given
        if self.alone and source.transport != "oci":
            return self._name
        digests = {entry.descriptor.digest for entry in group.entries}
        for tag in group.tags:
            owners = self._owners.get(reference.qualified(tag), set())
            if not tag.startswith(("@", "-")) and (len(owners) == 1 or (digests and owners <= digests)):
                return f"{self._name}:{tag}"
        if self.alone:
            return self._name
        return f"{self._name}:@{group.entries[0].descriptor.digest}" if group.entries else f"{self._name}:@{position}"
