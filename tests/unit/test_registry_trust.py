"""Which certificate authorities are loaded, and how often."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.registries import DATA, NoWaitTask, client, digest
from support.registry import BlobServer, Fault, ScriptedRegistry, certificates

from ocitool.transports.registry import blobs
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.http import trust


def test_the_authorities_for_every_host_are_loaded_once_for_a_registry_and_the_hosts_it_refers_to(
    task: NoWaitTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, loads = certificates(tmp_path), []
    load = trust._load_default_authorities
    monkeypatch.setenv("SSL_CERT_FILE", made.ca)
    monkeypatch.setattr(trust, "_load_default_authorities", lambda *given: (loads.append(1), load(*given)))
    with BlobServer(DATA, tls=made.server) as storage, ScriptedRegistry(tls=made.server) as registry:
        registry.put_blob("app", DATA)
        registry.faults.append(Fault("GET", "/blobs/", redirect=f"{storage.url}/store"))
        assert DATA == b"".join(blobs.fetch(client(registry, task, Access()), "app", digest(DATA), len(DATA)))
        assert 1 == len(storage.sent("GET"))
    assert [1] == loads
