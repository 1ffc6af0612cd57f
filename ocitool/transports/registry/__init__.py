"""Images at registries, by the OCI distribution-spec 1.1.

In the direction of the data, from the options of the user to the bytes on a connection:

    access.py          options of the user: TLS, credentials, hosts
    keychain.py        credentials from auth files and credential helpers
    http/              HTTP/1.1: URLs, TLS, proxies, connections, requests and responses

and from a response to images:

    error_bodies.py    error codes and messages in bodies of error responses
    errors.py          error responses, socket and TLS errors as errors of ocitool
    scopes.py          scopes of tokens
    auth.py            challenges, tokens and the Authorization header (oras)
    endpoint.py        requests of one registry, with authorization, redirects and retries
    lists.py           lists in pages: `Link` headers
    mount_hints.py     in which repositories a blob was seen, kept between runs
    mounting.py        cross-repository mounts, and blobs that a registry wrongly reports as present
    client.py          manifests, tags and referrers of one registry
    upload_bodies.py   the bytes of a blob as request bodies, hashed as they are sent
    blobs.py           blobs fetched and uploaded, resumed after an interruption
    ranges.py          large blobs fetched over several connections
    document_cache.py  manifests and configurations that several sources share
    source.py          a repository as a source of images
    tags.py            what tags point to; many tags put at once
    sink.py            repositories as destinations

`access`, `keychain`, `errors`, `error_bodies` and `http.addresses` import no heavy library. The others are imported when
the first request is made; `http.proxy_connections` (urllib3) only if there is a proxy, `auth` (oras and requests) only if
a registry requires authorization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocitool.task import OneAtATime, Task
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.document_cache import DocumentCache

if TYPE_CHECKING:
    from ocitool.transports.registry.client import Client

__all__ = ["Access", "Registries"]


class Registries:
    """The registries of one command. Each has a client with its own connections and tokens, which is made when it is
    first needed."""

    def __init__(self, access: Access, task: Task, *, cached: bool = False) -> None:
        """`cached`: mount hints are kept in the cache directory between runs."""
        self.access = access
        self._task = task
        self._cached = cached
        self.documents = DocumentCache(task)
        self._clients: dict[str, Client] = {}
        self._making = OneAtATime(task)

    def client(self, host: str) -> Client:
        """Returns the client of a registry; sends nothing. Raises `UsageError`, `NotFoundError` or `FormatError` if a
        certificate file of `access` cannot be used."""
        from ocitool.layers.cache import default_directory
        from ocitool.transports.registry.client import Client

        with self._making.turn(host):
            if host not in self._clients:
                directory = default_directory() if self._cached else None
                self._clients[host] = Client(host, self.access, self._task, directory)
            return self._clients[host]

    def close(self) -> None:
        """Saves the mount hints. Connections are closed when the task ends."""
        for client in self._clients.values():
            client.mount_hints.save()
