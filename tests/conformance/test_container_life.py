"""docs/container-life.md, executed from its top to its end with what is real: docker-registry, the docker client, a dockerd at
its socket, and another one at a port with TLS on both sides."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.engine import free_port
from support.engine_certificates import Authority, pem_folder
from support.engine_state import held
from support.examples import Runner, blocks
from support.images import config_of, entry, image, layer_tar, write_oci_archive
from support.real_registry import real_registry

ROOT = Path(__file__).resolve().parents[2]
NAME = "docs/container-life.md"
PROGRAMS = ("cat", "chmod", "grep", "rm", "sed", "sh", "sleep")


def shop(path: Path) -> Path:
    """The image that the page begins with: busybox, and the files of a shop."""
    system = [entry(name, None) for name in ("bin", "etc", "srv", "srv/shop", "tmp", "var", "var/lib", "var/lib/shop")]
    system.append(entry("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755))
    system += [entry(f"bin/{name}", "link:busybox") for name in PROGRAMS]
    own = [
        entry("etc/shop.conf", b"# The shop reads this at its start.\nworkers = 1\n"), entry("srv/shop/start", b"#!/bin/sh\n"),
        entry("srv/shop/prices-2023.csv", b"tea;3\n"),
    ]  # fmt: skip
    tars = [layer_tar(each) for each in (system, own)]
    config = config_of(tars, config={"Env": ["PATH=/bin"], "Cmd": ["sleep", "3600"]})
    return write_oci_archive(path, [image(tars, tag="shop:1.1", config=config)])


def test_the_page_prints_what_it_shows_with_real_engines(
    new_engine: Callable[..., AbstractContextManager[Any]], need: Callable[..., str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, testdata: Path,
) -> None:  # fmt: skip
    need("docker-registry", "openssl", "busybox")
    monkeypatch.setenv("DOCKER_API_VERSION", "1.41")
    for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.certificate("server")
    remote = f"127.0.0.1:{free_port()}"
    tls = ("--tlsverify", f"--tlscacert={authority.ca}", f"--tlscert={certificate}", f"--tlskey={key}", "-H", f"tcp://{remote}")
    with real_registry(tmp_path) as registry, new_engine() as here, new_engine(*tls) as there:
        runner = Runner(tmp_path, testdata, registry.host, here.host, remote=remote, every=True)
        shop(runner.cwd / "shop.tar")
        pem_folder(runner.cwd / "certs", authority.ca, authority.certificate("client", "clientAuth"))
        found = blocks((ROOT / NAME).read_text("utf-8"))
        for block in found:
            runner.run(block, NAME)
        # It leaves two containers, one at each engine, and nothing that ocitool made for its own use.
        assert [1, 1] == [len(held(engine)["containers"]) for engine in (here, there)]
        # A line that is not so is found.
        last = found[-1].commands[-1]
        with pytest.raises(AssertionError, match=NAME):
            runner.check(replace(last, shown=(*last.shown[:-1], "another line")), NAME)
        for engine in (here, there):
            engine("rm", "-f", "web")  # dockerd would wait for it at its own end
