"""A repository as a source of images: what is fetched and how often, tags that move, layers that are elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from support.copying import AMD, ARM, ONE, TWO
from support.images import image, index_of, pretty, sha256
from support.registries import (
    DATA,
    INSECURE,
    TENTH,
    NoWaitTask,
    layers,
    one_layer,
    open_remote,
    paths,
    put_images,
    session,
)
from support.registry import BlobServer, Fault, ScriptedRegistry

from ocitool.blob import stream_once
from ocitool.errors import IntegrityError
from ocitool.images import platform_choice
from ocitool.limits import MiB
from ocitool.operations.inspect import inspect
from ocitool.spec import mediatypes
from ocitool.spec.manifest import Descriptor
from ocitool.transports.opening import Opened
from ocitool.transports.source import RemoteSource

# What is fetched


def test_a_look_at_an_image_fetches_its_manifest_and_configuration(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    one = image([ONE, TWO])
    put_images(registry, "app", one, tag="1")
    found = inspect(f"docker://{registry.host}/app:1", session(task))
    assert [len(data) for data in one.layers] == [layer.size for layer in found.images[0].image.layers]
    assert ["GET manifests/1", f"GET blobs/{sha256(one.config)}"] == paths(registry)


def test_a_look_at_an_index_fetches_one_image_of_it(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    amd, arm = image([ONE], platform=AMD), image([TWO], platform=ARM, architecture="arm64")
    ppc = image([ONE, TWO], platform={"os": "linux", "architecture": "ppc64le"}, architecture="ppc64le")
    put_images(registry, "app", amd, arm, ppc)
    registry.put_manifest("app", mediatypes.OCI_INDEX, pretty(index_of([one.descriptor for one in (amd, arm, ppc)])), "1")
    found = inspect(f"docker://{registry.host}/app:1", session(task), platform="linux/arm64")
    assert 3 == len(found.entries)
    assert ["GET manifests/1", f"GET manifests/{arm.digest}", f"GET blobs/{sha256(arm.config)}"] == paths(registry)


@pytest.mark.parametrize("size", [10_000, 3 * MiB], ids=["small", "large"])
def test_a_layer_comes_over_the_network_once(size: int, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    one = one_layer(registry, size)
    (layer,) = layers(open_remote(registry, "app:1", task))
    registry.forget()
    assert layer.remote
    assert [one.layers[0]] * 2 == [b"".join(layer.chunks()), b"".join(layer.chunks())]
    assert one.layers[0][5000:] == b"".join(layer.chunks(5000))
    assert one.layers[0][9000:9100] == layer.pread(100, 9000)
    assert not layer.remote
    assert 1 == len(registry.requests)
    assert size == registry.bytes_served


def test_passing_a_layer_on_keeps_nothing(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = one_layer(registry, 3 * MiB)
    (layer,) = layers(open_remote(registry, "app:1", task))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    registry.forget()
    assert [one.layers[0]] * 2 == [b"".join(stream_once(layer)), b"".join(stream_once(layer))]
    assert 2 == len(registry.requests)
    assert layer.remote


@pytest.mark.parametrize("size", [10_000, 3 * MiB], ids=["small", "large"])
def test_wrong_bytes_of_a_layer_are_not_kept(size: int, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    one = one_layer(registry, size)
    (layer,) = layers(open_remote(registry, "app:1", task))
    registry.faults.append(Fault("GET", "/blobs/", flip=-1, times=1))
    with pytest.raises(IntegrityError):
        list(layer.chunks())
    assert one.layers[0] == b"".join(layer.chunks())


# Tags that move, layers that are elsewhere


def test_a_tag_that_moved_is_noticed(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    source = open_remote(registry, "app:1", task)
    assert isinstance(source, RemoteSource)
    assert source.resolve() is None
    put_images(registry, "app", image([TWO]), tag="1")
    assert image([TWO]).digest == str(source.resolve())


def foreign(registry: ScriptedRegistry, *urls: str) -> Descriptor:
    """The layer DATA of app:1, which the registry lacks, and which says that it is at these addresses."""
    one = image([DATA], codec="none")
    one.manifest["layers"][0]["urls"] = list(urls)
    put_images(registry, "app", one, tag="1")
    del registry.blobs["app", sha256(DATA)]
    (found,) = platform_choice.single(Opened(open_remote(registry, "app:1", NoWaitTask()), None), None).manifest.layers  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize("first", ["missing", "denied", "broken", "dead", "no address"])
def test_a_foreign_layer_comes_from_the_first_address_that_has_it(
    first: str, registry: ScriptedRegistry, blob_server: BlobServer, task: NoWaitTask
) -> None:
    faults = {"missing": Fault(status=404), "denied": Fault(status=403), "broken": Fault(cut_response=TENTH)}
    with BlobServer(DATA) as bad:
        bad.faults += [faults[first]] if first in faults else []
        url = {"dead": "http://127.0.0.1:9/layer", "no address": "ftp://127.0.0.1/layer"}.get(first, f"{bad.url}/layer")
        one = foreign(registry, url, f"{blob_server.url}/layer")
        layer = open_remote(registry, "app:1", task, INSECURE._replace(foreign=True)).blob(one)
        assert layer is not None
        assert DATA == b"".join(layer.chunks())
