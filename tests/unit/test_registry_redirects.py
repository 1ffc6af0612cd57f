"""Where a registry sends us on, and lists of several pages: what is followed, and what goes there."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.copying import ONE
from support.images import image
from support.registries import (
    DATA,
    INSECURE,
    PASSWORD,
    TENTH,
    USER,
    NoWaitTask,
    authfile,
    client,
    cut_responses,
    digest,
    put_images,
    ranges,
    read,
    read_verified,
)
from support.registry import BasicAuth, BlobServer, Fault, ScriptedRegistry, certificates

from ocitool.blob import BytesBlob
from ocitool.errors import FormatError, OcitoolError, TransportError
from ocitool.spec import mediatypes
from ocitool.transports.registry import blobs
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.blobs import UploadTarget
from ocitool.transports.registry.client import Client

# Redirects


def test_where_the_registry_sends_us_no_authorization_goes_and_ranges_do(
    blob_server: BlobServer, task: NoWaitTask, tmp_path: Path
) -> None:
    with ScriptedRegistry(auth=BasicAuth(USER, PASSWORD)) as registry:
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        registry.put_blob("app", DATA)
        signed = f"{blob_server.url}/store/1?sig=a%2Fb%3D&x=&y=1+2"
        registry.faults.append(Fault("GET", "/blobs/", redirect=signed))
        blob_server.faults += cut_responses("GET", "/store/", TENTH, 1)
        coming = blobs.fetch(client(registry, task, access), "app", digest(DATA), len(DATA))
        assert DATA == b"".join(coming)
        assert all("authorization" in one.headers for one in registry.sent()[1:])
        assert len(registry.sent()) > 2
    assert ["", f"bytes={TENTH}-"] == ranges(blob_server)
    assert ["/store/1?sig=a%2Fb%3D&x=&y=1+2"] * 2 == [one.path for one in blob_server.requests]
    assert [] == [one for one in blob_server.requests if "authorization" in one.headers]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_followed(
    status: int, registry: ScriptedRegistry, blob_server: BlobServer, task: NoWaitTask
) -> None:
    registry.faults.append(Fault("GET", "/blobs/", status=status, redirect=f"{blob_server.url}/store"))
    assert DATA == read_verified(registry, task)


def test_an_address_that_has_expired_is_asked_for_again(
    registry: ScriptedRegistry, blob_server: BlobServer, task: NoWaitTask
) -> None:
    registry.faults.append(Fault("GET", "/blobs/", redirect=f"{blob_server.url}/store"))
    blob_server.faults += [Fault("GET", cut_response=TENTH, times=1), Fault("GET", status=403, after=1, times=1)]
    assert DATA == read_verified(registry, task)
    assert 3 == len(registry.sent("GET"))
    assert ["", f"bytes={TENTH}-", f"bytes={TENTH}-"] == ranges(blob_server)


def test_redirects_that_lead_to_themselves_end(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", redirect="{path}"))
    with pytest.raises(TransportError, match="redirects"):
        read(registry, task)
    assert len(registry.sent("GET")) <= 10


def test_from_tls_nobody_is_sent_to_an_address_without(blob_server: BlobServer, task: NoWaitTask, tmp_path: Path) -> None:
    made = certificates(tmp_path)
    with ScriptedRegistry(tls=made.server) as registry:
        registry.put_blob("app", DATA)
        registry.faults.append(Fault("GET", "/blobs/", redirect=f"{blob_server.url}/store"))
        asking = Client(registry.host, Access(ca=made.ca), task)
        with pytest.raises(TransportError, match="without TLS"):
            list(blobs.fetch(asking, "app", digest(DATA), len(DATA)))
        assert 1 == len(registry.sent("GET"))
    assert [] == blob_server.requests


def test_an_error_of_where_we_were_sent_names_that_host(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    with BlobServer() as gone:
        host = gone.host
    registry.faults.append(Fault("GET", "/blobs/", redirect=f"http://{host}/store?sig=secret"))
    with pytest.raises(TransportError) as caught:
        read(registry, task)
    assert host in str(caught.value)
    assert "secret" not in str(caught.value)


class TlsOnlyRegistry(ScriptedRegistry):
    """Has one port, and there answers a request without TLS as nginx can be told to: by the same address with TLS."""

    def __init__(self, tls: tuple[str, str]) -> None:
        super().__init__(tls=tls)
        listener: Any = self._listener
        context = listener.socket.context

        def accepted() -> tuple[socket.socket, Any]:
            sock, address = socket.socket.accept(listener.socket)
            if sock.recv(1, socket.MSG_PEEK) == b"\x16":
                return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address
            path = sock.recv(4096).split(b" ")[1].decode()
            sock.sendall(f"HTTP/1.1 301 Moved\r\nLocation: {self.url}{path}\r\nContent-Length: 0\r\n\r\n".encode())
            sock.close()
            raise OSError

        listener.get_request = accepted


def test_a_port_at_which_every_address_leads_to_the_same_with_tls_is_spoken_to_with_tls(
    need: Callable[..., str], task: NoWaitTask, tmp_path: Path
) -> None:
    need("openssl")
    with TlsOnlyRegistry(certificates(tmp_path).server) as registry:
        put_images(registry, "app", image([ONE]), tag="1")
        asking = client(registry, task)
        assert ["1"] == asking.tags("app")
        assert asking.document("app", "1").digest is not None
        assert 2 == len(registry.requests)


@pytest.mark.parametrize("location", ["{base}{path}#part", "http://user:word@{host}{path}#"])
def test_an_address_is_used_without_its_fragment(location: str, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("POST", location=location.replace("{host}", registry.host)))
    assert blobs.send(UploadTarget(client(registry, task), "app"), BytesBlob(DATA, digest(DATA)), ())
    assert DATA == registry.blobs["app", str(digest(DATA))]


def test_an_address_may_hold_what_none_can_as_it_is(
    registry: ScriptedRegistry, blob_server: BlobServer, task: NoWaitTask
) -> None:
    registry.faults.append(Fault("GET", "/blobs/", redirect=f"{blob_server.url}/é é".encode().decode("latin-1")))
    assert DATA == read_verified(registry, task)
    assert ["/%C3%A9%20%C3%A9"] == [one.path for one in blob_server.requests]


@pytest.mark.parametrize(
    "form", [r"http://{other}\@{own}/x", r"http://{other}\.{own}/x", "http://{other}%2F@a%b/x", "http://a%b/x"]
)
def test_what_two_readers_may_take_for_addresses_of_two_hosts_is_none(
    form: str, blob_server: BlobServer, task: NoWaitTask, tmp_path: Path
) -> None:
    with ScriptedRegistry(auth=BasicAuth(USER, PASSWORD)) as registry:
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        registry.faults.append(Fault("GET", "/tags/", redirect=form.format(other=blob_server.host, own=registry.host)))
        with pytest.raises(TransportError, match="invalid URL"):
            client(registry, task, access).tags("app")
        assert [] == blob_server.requests
        assert 2 == len(registry.requests)


# Lists


def test_all_pages_of_tags_are_read(task: NoWaitTask) -> None:
    with ScriptedRegistry(page=2) as registry:
        for n in range(5):
            registry.put_manifest("app", mediatypes.OCI_MANIFEST, image([ONE]).raw, f"v{n}")
        assert [f"v{n}" for n in range(5)] == client(registry, task).tags("app")
        assert 3 == len(registry.sent("GET", "/tags/list"))


def test_pages_that_lead_back_to_themselves_end(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    registry.faults.append(Fault("GET", "/tags/", headers={"Link": '</v2/app/tags/list?n=100>; rel="next"'}))
    with pytest.raises(OcitoolError, match="back to themselves"):
        client(registry, task).tags("app")
    assert len(registry.sent("GET", "/tags/list")) <= 3


def test_a_page_at_another_host_is_not_asked_for(task: NoWaitTask, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=BasicAuth(USER, PASSWORD)) as registry, BlobServer(b'{"tags": ["other"]}') as other:
        put_images(registry, "app", image([ONE]), tag="1")
        registry.faults.append(Fault("GET", "/tags/", headers={"Link": f'<{other.url}/v2/app/tags/list>; rel="next"'}))
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        with pytest.raises(FormatError, match="another registry"):
            client(registry, task, access).tags("app")
        assert [] == other.requests


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"tags": 3}', b'{"tags": [3, {}, "1"]}', b"[" * 100_000])
def test_a_list_that_is_none_is_an_error_or_empty(body: bytes, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/tags/", status=200, body=body))
    try:
        assert client(registry, task).tags("app") in ([], ["1"])
    except FormatError as error:
        assert 4 == error.exit_code
