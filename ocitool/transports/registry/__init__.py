"""Images at registries, by the OCI distribution-spec 1.1.

In the direction of the data, from what the user says to images:

    access.py          options of the user: TLS, credentials, hosts
    keychain.py        credentials: auth files and credential helpers
    trust.py           TLS contexts: authorities, certs.d, client certificates
    proxies.py         which proxy serves an address, from the environment
    addresses.py       URLs taken apart, and the network zone of an address
    gate.py            connections that are opened only where their zone allows
    connections.py     the idle connections of a registry, used again
    detours.py         connections through proxies, made by urllib3
    exchange.py        one HTTP request and its response on a connection
    answers.py         bodies of responses, read within bounds
    wording.py         the error message in a response, whatever form it has
    problems.py        errors and exit codes for responses, sockets and TLS
    scopes.py          scopes of tokens
    auth.py            challenges, tokens and the Authorization header (oras)
    endpoint.py        requests with authorization, redirects and retries
    lists.py           lists in pages: `Link` headers
    client.py          one registry: documents, tags, referrers
    bodies.py          the bytes of a blob as bodies of requests, hashed as they are sent
    mount_hints.py     repositories that a blob was seen in, kept between runs
    mounting.py        cross-repository mounts, and what is done if one was not made
    blobs.py           blobs fetched and sent, resumed after a break
    tag_cache.py       tags: what they lead to, and many put at once
    document_cache.py  documents that several sources share, fetched once
    source.py          a repository as a source of images
    sink.py            repositories as destinations

`access`, `keychain`, `problems`, `wording` and `addresses` import no heavy library. The others are imported when a registry is
first asked, `detours` if there is a proxy (it imports urllib3), `auth` if a registry asks for a login (it imports oras and
requests).
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
    """The registries of one command, each with its connections and tokens, made when it is first asked for."""

    def __init__(self, access: Access, task: Task, *, cached: bool = False) -> None:
        """`cached`: where blobs were seen is kept from one run to the next."""
        self.access = access
        self._task = task
        self._cached = cached
        self.documents = DocumentCache(task)
        self._clients: dict[str, Client] = {}
        self._making = OneAtATime(task)

    def client(self, host: str) -> Client:
        """Raises `UsageError` and `NotFoundError` for files of `access` that are none. Nothing is sent yet."""
        from ocitool.layers.cache import default_directory
        from ocitool.transports.registry.client import Client

        with self._making.turn(host):
            if host not in self._clients:
                directory = default_directory() if self._cached else None
                self._clients[host] = Client(host, self.access, self._task, directory)
            return self._clients[host]

    def close(self) -> None:
        """Keeps what was learnt; connections end with the task."""
        for client in self._clients.values():
            client.mount_hints.save()
