"""What a user says of a registry, and what belongs to it, goes to no host that it sends us to; and where it may send us."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.copying import ONE
from support.images import image
from support.registries import DATA, INSECURE, PASSWORD, USER, NoWaitTask, authfile, digest, put_images
from support.registry import BasicAuth, BlobServer, Certificates, Fault, ScriptedRegistry, TokenAuth, certificates

from ocitool.errors import OcitoolError, TransportError
from ocitool.transports.registry import blobs
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.client import Client
from ocitool.transports.registry.http import addresses
from ocitool.transports.registry.http.addresses import Zone, allows_redirect, numeric_address, same_domain, zone

TOKEN = json.dumps({"token": "from-inside", "expires_in": 100}).encode()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


def tags(registry: Any, task: NoWaitTask, access: Access) -> list[str]:
    return Client(registry.host, access, task).tags("app")


def insecure(registry: Any, **more: Any) -> Access:
    """For this host alone."""
    return Access(frozenset({registry.host}), **more)


def blob(registry: ScriptedRegistry, task: NoWaitTask, access: Access) -> bytes:
    registry.put_blob("app", DATA)
    return b"".join(blobs.fetch(Client(registry.host, access, task), "app", digest(DATA), len(DATA)))


# Token servers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_token_server_does_not_send_us_to_another_host(status: int, task: NoWaitTask, tmp_path: Path) -> None:
    with BlobServer(TOKEN) as inside, BlobServer() as server, ScriptedRegistry(auth=TokenAuth(USER, PASSWORD)) as registry:
        server.faults.append(Fault("GET", status=status, redirect=f"{inside.url}/computeMetadata/v1/token"))
        registry.realm = f"{server.url}/token"
        put_images(registry, "app", image([ONE]), tag="1")
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        with pytest.raises(TransportError, match="token server redirects to"):
            tags(registry, task, access)
        assert [] == inside.requests
        assert [] == [one for one in registry.requests if "from-inside" in one.headers.get("authorization", "")]


def test_a_token_server_may_send_us_on_at_its_own_host(task: NoWaitTask) -> None:
    with ScriptedRegistry(auth=TokenAuth(USER, PASSWORD, anonymous=True)) as registry:
        put_images(registry, "app", image([ONE]), tag="1")
        registry.faults.append(Fault("GET", "/token", redirect="{path}&again=1", times=1))
        assert ["1"] == tags(registry, task, INSECURE)


def test_a_refresh_token_is_not_sent_on(task: NoWaitTask, tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    with BlobServer(TOKEN) as inside, ScriptedRegistry(auth=TokenAuth(USER, PASSWORD)) as registry:
        path.write_text(json.dumps({"auths": {registry.host: {"identitytoken": "refresh-word"}}}))
        registry.faults.append(Fault("POST", "/token", redirect=f"{inside.url}/token"))
        with pytest.raises(OcitoolError):
            tags(registry, task, INSECURE._replace(authfile=str(path)))
        assert [] == inside.requests


def test_a_token_server_outside_of_the_registrys_domain_is_told_once(task: NoWaitTask, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=TokenAuth(USER, PASSWORD)) as registry:
        registry.realm = registry.realm.replace("127.0.0.1", "localhost")
        put_images(registry, "app", image([ONE]), tag="1")
        put_images(registry, "other", image([ONE]), tag="1")
        client = Client(registry.host, INSECURE._replace(authfile=authfile(tmp_path, registry.host)), task)
        client.tags("app")
        client.tags("other")
        (notice,) = task.notices_of("realm")
        assert f"localhost:{registry.host.partition(':')[2]}" in notice.text and "--realm" in notice.text


def test_a_realm_that_is_named_is_the_only_one(task: NoWaitTask, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=TokenAuth(USER, PASSWORD)) as registry, BlobServer(TOKEN) as other:
        put_images(registry, "app", image([ONE]), tag="1")
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        assert ["1"] == tags(registry, task, access._replace(realms=(registry.host,)))
        assert [] == task.notices_of("realm")
        registry.realm = f"{other.url}/token"
        with pytest.raises(TransportError, match="--realm"):
            tags(registry, task, access._replace(realms=(registry.host,)))
        assert [] == other.requests


def test_a_registry_whose_realm_is_named_gets_no_password_itself(task: NoWaitTask, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=BasicAuth(USER, PASSWORD)) as registry:
        put_images(registry, "app", image([ONE]), tag="1")
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host), realms=("auth.example",))
        with pytest.raises(TransportError, match="--realm"):
            tags(registry, task, access)
        assert [] == [one for one in registry.requests if "authorization" in one.headers]


def test_a_registry_whose_realm_is_named_gets_no_token_of_ours_itself(task: NoWaitTask, tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    with ScriptedRegistry(auth=TokenAuth(USER, PASSWORD)) as registry:
        path.write_text(json.dumps({"auths": {registry.host: {"registrytoken": "own-token-word"}}}))
        with pytest.raises(TransportError, match="--realm"):
            tags(registry, task, INSECURE._replace(authfile=str(path), realms=("auth.example",)))
        assert [] == [one for one in registry.requests if "authorization" in one.headers]


def test_a_layers_address_at_the_registry_itself_gets_no_credentials(task: NoWaitTask, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=BasicAuth(USER, PASSWORD)) as registry:
        put_images(registry, "app", image([ONE]), tag="1")
        registry.put_blob("other", DATA)
        client = Client(registry.host, insecure(registry, authfile=authfile(tmp_path, registry.host)), task)
        assert ["1"] == client.tags("app")
        registry.forget()
        with pytest.raises(TransportError):
            list(blobs.fetch_foreign(client, [f"{registry.url}/v2/other/blobs/{digest(DATA)}"], len(DATA)))
        assert [401] == [one.status for one in registry.requests]
        assert "authorization" not in registry.requests[0].headers


# TLS


@pytest.mark.parametrize("how", ["insecure", "ca"])
def test_what_is_insecure_is_one_host_and_not_the_proxy_before_it(
    how: str, made: Certificates, task: NoWaitTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*made.server)
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    sock = proxy.accept()[0]
                    with suppress(OSError), sock, context.wrap_socket(sock, server_side=True) as one:
                        asked.append(one.recv(1 << 16))

        thread = Thread(target=serve, daemon=True)
        thread.start()
        monkeypatch.setenv("https_proxy", f"https://me:pr0xy-word@127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        access = Access(frozenset({"reg.example"})) if how == "insecure" else Access(ca=made.ca)
        with pytest.raises(TransportError):
            Client("reg.example", access, task).tags("app")
        assert b"" == b"".join(asked)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", made.ca)
        with pytest.raises(TransportError):
            Client("reg.example", access, task).tags("app")
        assert b"CONNECT reg.example" in b"".join(asked)
        proxy.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_what_is_insecure_is_one_host_and_not_its_token_server(made: Certificates, task: NoWaitTask, tmp_path: Path) -> None:
    auth = TokenAuth(USER, PASSWORD)
    with (
        ScriptedRegistry(auth=auth, tls=made.server) as registry,
        ScriptedRegistry(auth=auth, tls=made.server) as server,
    ):
        registry.realm = f"{server.url}/token"
        put_images(registry, "app", image([ONE]), tag="1")
        access = insecure(registry, authfile=authfile(tmp_path, registry.host))
        with pytest.raises(TransportError, match="certificate is refused") as caught:
            tags(registry, task, access)
        assert server.host in str(caught.value) and "--ca" not in str(caught.value.hint)
        assert [] == server.requests
        both = access._replace(insecure_hosts=frozenset({registry.host, server.host}))
        assert ["1"] == tags(registry, task, both)


@pytest.mark.parametrize("how", ["insecure", "ca"])
def test_what_is_insecure_is_one_host_and_not_where_it_sends_us(how: str, made: Certificates, task: NoWaitTask) -> None:
    with ScriptedRegistry(tls=made.server) as registry, BlobServer(DATA, tls=made.server) as other:
        registry.faults.append(Fault("GET", "/blobs/", redirect=f"{other.url}/store"))
        access = insecure(registry) if how == "insecure" else Access(ca=made.ca)
        with pytest.raises(TransportError, match="certificate is refused"):
            blob(registry, task, access)
        assert [] == other.requests


def test_our_certificate_is_shown_to_the_registry_alone(
    made: Certificates, task: NoWaitTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", made.ca)
    cert, key = made.client
    with (
        ScriptedRegistry(tls=made.server, client_ca=made.ca) as registry,
        BlobServer(DATA, tls=made.server, client_ca=made.ca) as other,
    ):
        access = Access(ca=made.ca, cert=cert, key=key)
        assert DATA == blob(registry, task, access)
        registry.faults.append(Fault("GET", "/blobs/", redirect=f"{other.url}/store"))
        with pytest.raises(TransportError):
            blob(registry, task, access)
        assert [] == other.requests


def test_authorities_of_the_environment_are_believed_wherever_we_are_sent(
    made: Certificates, task: NoWaitTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", made.ca)
    with ScriptedRegistry(tls=made.server) as registry, BlobServer(DATA, tls=made.server) as other:
        registry.faults.append(Fault("GET", "/blobs/", redirect=f"{other.url}/store"))
        assert DATA == blob(registry, task, Access())


# Authorization


@pytest.mark.parametrize("status", [307, 308])
def test_an_upload_that_is_sent_to_another_host_takes_no_authorization_along(
    status: int, task: NoWaitTask, tmp_path: Path
) -> None:
    from ocitool.blob import BytesBlob
    from ocitool.transports.registry.blobs import UploadTarget, send

    with ScriptedRegistry(auth=BasicAuth(USER, PASSWORD)) as registry, BlobServer() as other:
        access = insecure(registry, authfile=authfile(tmp_path, registry.host), private_hosts=(other.host,))
        for fault in (
            Fault("PUT|PATCH|POST", "/blobs/", status=status, redirect=f"{other.url}/store"),
            Fault("POST", "/blobs/", location=f"{other.url}{{path}}"),
            Fault("POST", "/blobs/", location="http://localhost:" + registry.host.partition(":")[2] + "{path}"),
        ):
            registry.faults[:] = [fault]
            registry.forget()
            with suppress(OcitoolError):
                send(UploadTarget(Client(registry.host, access, task), "app"), BytesBlob(DATA, digest(DATA)), ())
            assert [] == [one for one in other.requests if "authorization" in one.headers]
            foreign = [one for one in registry.requests if one.headers["host"].startswith("localhost")]
            assert [] == [one for one in foreign if "authorization" in one.headers]


# Addresses


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", Zone.PUBLIC), ("2606:4700::1111", Zone.PUBLIC), ("127.0.0.1", Zone.LOOPBACK), ("127.8.7.6", Zone.LOOPBACK),
        ("0.0.0.0", Zone.LOOPBACK), ("::1", Zone.LOOPBACK), ("::", Zone.LOOPBACK), ("::ffff:127.0.0.1", Zone.LOOPBACK),
        ("::127.0.0.1", Zone.LOOPBACK), ("64:ff9b::7f00:1", Zone.LOOPBACK), ("2002:7f00:1::", Zone.LOOPBACK),
        ("10.1.2.3", Zone.PRIVATE), ("172.31.0.1", Zone.PRIVATE), ("192.168.1.1", Zone.PRIVATE), ("100.64.0.1", Zone.PRIVATE),
        ("fd12::1", Zone.PRIVATE), ("::ffff:10.0.0.1", Zone.PRIVATE), ("224.0.0.1", Zone.PRIVATE),
        ("255.255.255.255", Zone.PRIVATE), ("169.254.169.254", Zone.LINK_LOCAL), ("fe80::1%eth0", Zone.LINK_LOCAL),
        ("::ffff:169.254.169.254", Zone.LINK_LOCAL), ("fd00:ec2::254", Zone.LINK_LOCAL), ("100.100.100.200", Zone.LINK_LOCAL),
        ("168.63.129.16", Zone.LINK_LOCAL), ("64:ff9b::a9fe:a9fe", Zone.LINK_LOCAL), ("fd20:ce::254", Zone.LINK_LOCAL),
        ("fd00:42::42", Zone.LINK_LOCAL), ("fd00:c1::a9fe:a9fe", Zone.LINK_LOCAL), ("::ffff:0:7f00:1", Zone.LOOPBACK),
    ],
)  # fmt: skip
def test_an_address_lies_where_it_leads_to(address: str, expected: Zone) -> None:
    assert expected is zone(address)


@pytest.mark.parametrize(
    "name",
    ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "::1", "::ffff:7f00:1", "0", "127.0.0.1.",
     "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\u2460\u2461\u2466.1", "localhost", "LOCALHOST.", "a.localhost"],
)  # fmt: skip
def test_a_name_that_spells_an_address_is_that_address(name: str) -> None:
    found = numeric_address(name)
    assert found is not None and Zone.LOOPBACK is zone(found)


def test_a_name_is_no_address() -> None:
    assert [None] * 4 == [
        numeric_address(name) for name in ("localhost.example", "reg.example", "1.2.3.4.example", "10.0.0.1x")
    ]


def test_who_may_send_us_where() -> None:
    allowed = {
        Zone.PUBLIC: {Zone.PUBLIC}, Zone.PRIVATE: {Zone.PUBLIC, Zone.PRIVATE},
        Zone.LOOPBACK: {Zone.PUBLIC, Zone.PRIVATE, Zone.LOOPBACK}, Zone.LINK_LOCAL: {Zone.PUBLIC, Zone.LINK_LOCAL},
    }  # fmt: skip
    assert allowed == {own: {there for there in Zone if allows_redirect(own, there)} for own in Zone}


@pytest.mark.parametrize(
    ("host", "other", "expected"),
    [
        ("registry-1.docker.io", "auth.docker.io", True), ("registry.gitlab.com", "gitlab.com", True), ("a.io", "A.io.", True),
        ("ghcr.io", "ghcr.io", True), ("reg.corp.co.uk", "auth.corp.co.uk", True), ("a.co.uk", "b.co.uk", False),
        ("docker.io", "docker.io.evil.example", False),
        ("evildocker.io", "docker.io", False), ("localhost", "127.0.0.1", False),
        ("10.0.0.1", "9.0.0.1", False), ("10.0.0.1", "10.0.0.1", True), ("reg", "auth", False), ("reg", "reg", True),
    ],
)  # fmt: skip
def test_a_domain_is_told_by_its_last_parts(host: str, other: str, expected: bool) -> None:
    assert expected is same_domain(host, other)


def as_if_public(monkeypatch: pytest.MonkeyPatch, *others: str) -> None:
    """127.0.0.1, where the registry listens, is a public address for once; these are what they are."""
    real = addresses.zone
    for module in ("addresses", "connector"):
        monkeypatch.setattr(
            f"ocitool.transports.registry.http.{module}.zone",
            lambda address: Zone.PUBLIC if address == "127.0.0.1" and address not in others else real(address),
        )


INSIDE = [
    "127.0.0.2:{port}", "localhost.:{port}", "[::1]:{port}", "[::ffff:127.0.0.2]:{port}", "2130706434:{port}",
    "0x7f000002:{port}", "0177.0.0.2:{port}", "127.2:{port}", "0:{port}", "0.0.0.0:{port}", "169.254.169.254",
    "10.0.0.1:{port}",
    "[fe80::1]:{port}", "100.64.0.1", "inside.example:{port}", "user:word@127.0.0.2:{port}",
]  # fmt: skip


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names mean, each time they are looked up; the last stays."""
    means: dict[str, list[str]] = {"inside.example": ["127.0.0.2"], "localhost": ["127.0.0.3"]}
    real = socket.getaddrinfo

    def look(host: Any, *more: Any, **other: Any) -> Any:
        found = means.get(host)
        address = host if found is None else found.pop(0) if len(found) > 1 else found[0]
        return real(address, *more, **other)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    return means


@pytest.mark.parametrize("place", INSIDE)
@pytest.mark.parametrize("way", ["realm", "blob", "manifest", "upload", "foreign"])
def test_a_public_registry_sends_us_to_no_address_inside(
    way: str, place: str, task: NoWaitTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: Any
) -> None:
    connected: list[Any] = []
    real = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda one, where: (connected.append(where), real(one, where))[1])
    as_if_public(monkeypatch)
    auth = TokenAuth(USER, PASSWORD) if way == "realm" else None
    with ScriptedRegistry(auth=auth) as registry:
        host, _, port = registry.host.partition(":")
        target = f"http://{place.format(port=port)}/inside"
        access = insecure(registry, authfile=authfile(tmp_path, registry.host), foreign=True)
        put_images(registry, "app", image([ONE]), tag="1")
        registry.realm = target
        registry.faults.append(Fault("GET", "/blobs/|/manifests/", redirect=target))
        registry.faults.append(Fault("POST", "/blobs/", location=target))
        client = Client(registry.host, access, task)
        with pytest.raises(TransportError, match="address, and has a"):
            if way == "realm":
                client.tags("app")
            elif way == "manifest":
                client.document("app", "1")
            elif way == "foreign":
                client.tag_digest("app", "1")
                list(blobs.fetch_foreign(client, [target], len(DATA)))
            elif way == "upload":
                from ocitool.blob import BytesBlob

                blobs.send(blobs.UploadTarget(client, "app"), BytesBlob(DATA, digest(DATA)), ())
            else:
                blob(registry, task, access)
        assert {(host, int(port))} == set(connected)
        assert [] == [one for one in registry.requests if one.path.startswith("/inside")]


def test_a_host_that_the_user_names_may_lie_inside(task: NoWaitTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    as_if_public(monkeypatch)
    with ScriptedRegistry(auth=TokenAuth(USER, PASSWORD)) as registry:
        put_images(registry, "app", image([ONE]), tag="1")
        there = registry.host.replace("127.0.0.1", "127.0.0.2")
        for named in ("realms", "private_hosts"):
            access = insecure(registry, authfile=authfile(tmp_path, registry.host), **{named: (there,)})
            with pytest.raises(TransportError, match="refused"):  # by the machine: it does not listen there
                registry.realm = f"http://{there}/token"
                tags(registry, task, access)


def test_a_name_is_looked_up_once_and_what_was_looked_at_is_connected_to(
    task: NoWaitTask, monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]
) -> None:
    as_if_public(monkeypatch)
    with ScriptedRegistry() as registry, BlobServer(DATA) as store:
        names["store.example"] = ["127.0.0.1", "127.0.0.2"]
        registry.faults.append(Fault("GET", "/blobs/", redirect=f"http://store.example:{store.host.partition(':')[2]}/1"))
        assert DATA == blob(registry, task, insecure(registry))


def test_a_registry_whose_name_comes_to_mean_an_address_inside_is_left(
    task: NoWaitTask, monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]
) -> None:
    as_if_public(monkeypatch)
    with ScriptedRegistry() as registry:
        put_images(registry, "app", image([ONE]), tag="1")
        port = registry.host.partition(":")[2]
        names["reg.example"] = ["127.0.0.1", "127.0.0.2"]
        client = Client(f"reg.example:{port}", Access(frozenset({f"reg.example:{port}"})), task)
        registry.faults.append(Fault("GET", "/tags/", headers={"Connection": "close"}))
        assert ["1"] == client.tags("app")
        with pytest.raises(TransportError):
            client.tags("app")


def test_a_registry_that_was_seen_inside_and_outside_sends_us_nowhere_inside(
    task: NoWaitTask, monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]
) -> None:
    """Whoever owns the name lets it mean this machine for the first connection, which needs no answer."""
    as_if_public(monkeypatch)
    with ScriptedRegistry() as registry, BlobServer(DATA) as inside:
        port = registry.host.partition(":")[2]
        client = Client(f"reg.example:{port}", Access(frozenset({f"reg.example:{port}"})), task)
        client._zones.record_own("127.0.0.2")
        names["reg.example"] = ["127.0.0.1"]
        registry.put_blob("app", DATA)
        registry.faults.append(Fault("GET", "/blobs/", redirect=f"http://127.0.0.3:{inside.host.partition(':')[2]}/1"))
        with pytest.raises(TransportError, match="address, and has a"):
            list(blobs.fetch(client, "app", digest(DATA), len(DATA)))


def test_a_registry_on_this_machine_may_send_us_on_here(task: NoWaitTask) -> None:
    with ScriptedRegistry() as registry, BlobServer(DATA) as store:
        registry.faults.append(Fault("GET", "/blobs/", redirect=f"{store.url}/1"))
        assert DATA == blob(registry, task, insecure(registry))
        registry.faults[:] = [Fault("GET", "/blobs/", redirect="http://169.254.169.254/latest/meta-data")]
        with pytest.raises(TransportError, match="link-local"):
            blob(registry, task, insecure(registry))


def test_a_proxy_is_not_asked_for_an_address_inside(task: NoWaitTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own look-ups are not seen, but what spells an address is."""

    class Proxy(BlobServer):
        answers: Callable[[str], bytes]

    with BlobServer(b"{}") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        client = Client("reg.example:5000", Access(frozenset({"reg.example:5000"})), task)
        for place in ("2852039166", "169.254.169.254.", "localhost:5001", "\u00b969.254.\u00b969.254"):
            proxy.faults[:] = [Fault("GET", "/v2/", redirect=f"http://{place}/latest/meta-data")]
            with pytest.raises(TransportError, match="address, and has a"):
                client.tags("app")
        assert [] == [one for one in proxy.requests if "meta-data" in one.path]
