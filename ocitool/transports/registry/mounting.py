"""Mounts of blobs from other repositories, and sending of blobs that the registry wrongly reports as mounted or present."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ocitool.digest import Digest
from ocitool.errors import TransportError
from ocitool.task import OneAtATime
from ocitool.transports.registry.endpoint import RETRIES
from ocitool.transports.registry.errors import Denied
from ocitool.transports.registry.http.response_bodies import drain
from ocitool.transports.registry.scopes import push_scope

if TYPE_CHECKING:
    from ocitool.transports.registry.client import Client


class Mounts:
    """The mounts at one registry, and the blobs that were not sent because the registry reported them as present. Several
    threads may use it. Arguments `path`: the repository that is written to."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._retries = RETRIES
        self._mounted: dict[str, list[Callable[[], bool]]] = {}
        self._reported: dict[str, dict[Digest, Callable[[], object]]] = {}
        self._repaired: set[str] = set()
        self._turns = OneAtATime(client.task)
        self._verified = False

    def request(self, path: str, digest: Digest, source: str) -> str | None:
        """Requests a mount of a blob from the repository `source` (distribution-spec, "Mounting a blob from another
        repository").

        Returns None if the registry reports it as done; else the URL of the upload session that it opened instead, or
        "" if it opened none. After the retries of one mount were in vain, later mounts are not retried, since the bytes
        can be sent instead."""
        url = self._client.url(f"{path}/blobs/uploads/?mount={digest}&from={source}")
        try:
            response = self._client.request("POST", url, push_scope(path, source), "mount", retries=self._retries)
        except Denied:  # the token server does not allow reading from that repository
            return ""
        except TransportError:
            self._retries = 0
            return ""
        drain(response)
        if response.status_code == 201:
            return None
        return (self._client.location_of(response) or "") if response.status_code == 202 else ""

    def is_reliable(self, is_present: Callable[[], bool | None]) -> bool:
        """Returns whether a mount that was reported as done can be relied on. `is_present` asks the registry whether the
        repository has the blob; None if it does not say.

        Each mount is checked until one proves to be done: a registry that reports mounts without making them, and that
        accepts manifests without checking their blobs, would get an image without layers. Then the registry is relied
        on, and later mounts are checked only if it refuses a manifest. So the check costs one request in all."""
        if not self._verified:
            with self._turns.turn(None):
                if not self._verified:
                    self._verified = is_present() is not False
                    return self._verified
        return True

    def add_mounted(self, path: str, repair: Callable[[], bool]) -> None:
        """Records a mount that is relied on. `repair` sends the blob if it is missing, and returns whether it did; it is
        called if the repository refuses a manifest."""
        self._mounted.setdefault(path, []).append(repair)

    def add_reported(self, path: str, digest: Digest, send: Callable[[], object]) -> None:
        """Records a blob that the registry reports as present. `send` sends it; it is called if the registry refuses a
        manifest that names the blob because a blob is unknown. Some registries answer HEAD from a cache that ignores
        deletions."""
        self._reported.setdefault(path, {})[digest] = send

    def may_repair(self, path: str) -> bool:
        """Returns whether a mount or a blob of this repository was relied on, so that `repair` may help if it refuses a
        manifest."""
        return path in self._mounted or path in self._reported

    def repair(self, path: str, manifest: bytes) -> bool:
        """Sends missing blobs that were relied on: those of recorded mounts, and the reported ones that `manifest` names.
        Returns whether any was sent to this repository, by this call or an earlier one, so that putting the manifest
        again may succeed. `manifest`: the refused manifest if the registry says that a blob in it is unknown, else b""."""
        with self._turns.turn(path):
            mounted, self._mounted[path] = self._mounted.get(path, []), []
            for repair in mounted:
                if repair():
                    self._repaired.add(path)
            reported = self._reported.get(path, {})
            for digest in [one for one in reported if str(one).encode() in manifest]:
                reported.pop(digest)()
                self._repaired.add(path)
            return path in self._repaired
