"""Blobs that a registry says it has, or has attached from another of its repositories, and what is done if it only says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ocitool.digest import Digest
from ocitool.errors import TransportError
from ocitool.task import OneAtATime
from ocitool.transports.registry.endpoint import RETRIES
from ocitool.transports.registry.errors import Denied
from ocitool.transports.registry.response_bodies import drain
from ocitool.transports.registry.scopes import push_scope

if TYPE_CHECKING:
    from ocitool.transports.registry.client import Client


class Mounts:
    """Mounts at one registry, and what it says of blobs that are then not sent. Used by several threads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._retries = RETRIES
        self._mounted: dict[str, list[Callable[[], bool]]] = {}
        self._reported: dict[str, dict[Digest, Callable[[], object]]] = {}
        self._repaired: set[str] = set()
        self._turns = OneAtATime(client.task)
        self._verified = False

    def request(self, path: str, digest: Digest, repository: str) -> str | None:
        """Asks for a blob from another repository. None if the registry says that it is done; else the address of the upload
        that it began in its place, or nothing. After one that failed however often it was tried, each is tried once: the
        bytes can be sent as well."""
        url = self._client.url(f"{path}/blobs/uploads/?mount={digest}&from={repository}")
        try:
            response = self._client.request("POST", url, push_scope(path, repository), "mount", retries=self._retries)
        except Denied:  # a token server that does not let us read there
            return ""
        except TransportError:
            self._retries = 0
            return ""
        drain(response)
        if response.status_code == 201:
            return None
        return (self._client.location_of(response) or "") if response.status_code == 202 else ""

    def is_real(self, is_present: Callable[[], bool | None]) -> bool:
        """Whether a mount that is said to be done is. Until one was right each is looked at: a registry that only says so, and
        takes a manifest whatever it names, would keep an image without its layers. Others are looked at if a manifest is
        refused: that costs a request for the first alone."""
        if not self._verified:
            with self._turns.turn(None):
                if not self._verified:
                    self._verified = is_present() is not False
                    return self._verified
        return True

    def add_mounted(self, path: str, repair: Callable[[], bool]) -> None:
        """A blob is believed to be mounted in a repository. `repair` is called if a manifest is refused there: it sends the blob
        if that is not there, and says whether it did."""
        self._mounted.setdefault(path, []).append(repair)

    def add_reported(self, path: str, digest: Digest, send: Callable[[], object]) -> None:
        """The registry says that a repository has a blob. `send` is called if a manifest that names it is refused there because
        a blob is unknown: some answer HEAD from a cache that knows of no deletion."""
        self._reported.setdefault(path, {})[digest] = send

    def may_repair(self, path: str) -> bool:
        """Whether a refusal there may be for want of a blob that was believed to be there."""
        return path in self._mounted or path in self._reported

    def repair(self, path: str, manifest: bytes) -> bool:
        """Whether blobs that were said to be there were missing, and are there now. `manifest`: a manifest that names some which
        are unknown, as the registry says; none if it does not say that."""
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
