"""Images at registries (OCI distribution-spec 1.1), with an authorization of oras' table.

    access.py       how registries are to be reached, as the user says
    keychain.py     who the user is at a registry: auth files, credential helpers
    problems.py     what went wrong, in words and exit codes: answers, sockets, TLS
    wording.py      what a server says in a refusal, whatever form it has
    addresses.py    what a registry names as an address
    scopes.py       what a request needs to be allowed
    auth.py         challenges, tokens, the Authorization header
    exchange.py     one request and its response on a connection
    gate.py         where connections may lead, how they end
    connections.py  how many there are, how they are used again
    detours.py      those through proxies, which urllib3 makes
    trust.py        whom they believe, and who we are: authorities, certs.d
    proxies.py      by which way they go: proxies, and what goes without
    endpoint.py     requests with authorization, redirects and retries
    client.py       one registry: documents, tags, referrers
    blobs.py        transfers: a blob read and sent in pieces, resumed where it was cut
    bodies.py       the bytes of a blob as bodies of requests, hashed on their way
    source.py       a repository as a source of images
    sink.py         repositories as destinations
    tagging.py      tags: what they lead to, and many given at a time
    documents.py    documents that several sources have in common, fetched once
    mounting.py     mounts: asked for, believed, made up for
    origins.py      where blobs were seen before, for mounts

All but the first five are imported when a registry is first asked; `detours` when there is a proxy, as it imports urllib3, and
`auth` when a registry asks who the user is, as it imports oras, and requests with it.
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

        with self._making.of(host):
            if host not in self._clients:
                directory = default_directory() if self._cached else None
                self._clients[host] = Client(host, self.access, self._task, directory)
            return self._clients[host]

    def close(self) -> None:
        """Keeps what was learnt; connections end with the task."""
        for client in self._clients.values():
            client.origins.save()
