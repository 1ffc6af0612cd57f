"""Configurations that many images of a registry have in common, fetched once."""

from __future__ import annotations

from threading import Event, Lock

from ocitool.blob import Blob, BytesBlob
from ocitool.digest import Digest
from ocitool.images.image import Image
from ocitool.limits import MiB


class Configs:
    """Configurations that were fetched; those of a registry's images repeat."""

    MOST = 64 * MiB
    """Bytes of them that are held."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.held: dict[Digest, bytes] = {}
        self.size = 0
        self.coming: dict[Digest, Event] = {}


class Loan:
    """What one source is lent, so that each configuration is fetched once: whoever wants one that another source fetches
    waits for it, and fetches it after all where that failed. Nobody waits while others wait for him."""

    def __init__(self, configs: Configs) -> None:
        self._configs = configs
        self._mine: list[Digest] = []

    def __enter__(self) -> Loan:
        return self

    def __exit__(self, *_: object) -> None:
        self._settle()

    def find(self, digest: Digest) -> Blob | None:
        self._settle()
        with self._configs.lock:
            held, coming = self._configs.held.get(digest), self._configs.coming.get(digest)
            if held is None and coming is None:
                self._configs.coming[digest] = Event()
                self._mine.append(digest)
        if held is None and coming is not None:
            coming.wait()
            held = self._configs.held.get(digest)
        return BytesBlob(held, digest) if held is not None else None

    def keep(self, image: Image) -> None:
        with self._configs.lock:
            if image.manifest is not None and self._configs.size < self._configs.MOST:
                self._configs.held[image.manifest.config.digest] = image.config.raw
                self._configs.size += len(image.config.raw)
        self._settle()

    def _settle(self) -> None:
        with self._configs.lock:
            for digest in self._mine:
                self._configs.coming.pop(digest).set()
        self._mine.clear()
