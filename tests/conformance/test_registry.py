"""Against a real docker-registry, with real clients on the other side: what we push they read, what they push we pull."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.real_registry import Proxy, RealRegistry, real_registry

Run = Callable[..., Any]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def registry(need: Callable[..., str], tmp_path: Path) -> Iterator[RealRegistry]:
    need("docker-registry")
    (tmp_path / "registry").mkdir()
    with real_registry(tmp_path / "registry") as made:
        yield made


def call(*words: str | Path) -> bytes:
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    assert done.returncode == 0, f"{words}: {done.stderr.decode(errors='replace')}"
    return done.stdout


def ours(run: Run, *words: str | Path) -> Any:
    done = run(*words, "--insecure", "--format", "json")
    assert done.code == 0, str(done)
    return done.json()


def raw(need: Callable[..., str], host: str, name: str) -> bytes:
    return call(need("skopeo"), "inspect", "--raw", "--tls-verify=false", f"docker://{host}/{name}")


@pytest.mark.parametrize(
    "image",
    ["app-v2.tar", "multiarch:latest", "encodings/docker-29.tar", "encodings/oci-gzip.tar", "whiteouts.tar", "names.tar"],
)
def test_what_we_push_is_what_skopeo_reads(
    image: str, registry: RealRegistry, ocitool: Run, need: Callable[..., str], testdata: Path, tmp_path: Path
) -> None:
    pushed = ours(ocitool, "push", "--all-platforms", testdata / image, f"{registry.host}/app:1")
    read = raw(need, registry.host, "app:1")
    assert read == ocitool("inspect", "--insecure", "--raw", "index" if b'"manifests"' in read else "manifest",
                           f"docker://{registry.host}/app:1").stdout  # fmt: skip
    stored = registry.blobs()
    for one in pushed["images"]:
        assert {layer["digest"]: layer["size"] for layer in one["layers"]}.items() <= stored.items()
        assert one["digest"] in stored and one["imageId"] in stored
    call(need("skopeo"), "--insecure-policy", "copy", "--all", "--src-tls-verify=false",
         f"docker://{registry.host}/app:1", f"oci:{tmp_path}/theirs:1")  # fmt: skip
    assert 0 == ocitool("validate", tmp_path / "theirs").code


@pytest.mark.parametrize("kind", ["oci", "v2s2"])
def test_what_skopeo_pushed_we_pull_byte_for_byte(
    kind: str, registry: RealRegistry, ocitool: Run, need: Callable[..., str], testdata: Path, tmp_path: Path
) -> None:
    call(need("skopeo"), "--insecure-policy", "copy", "--format", kind, "--dest-tls-verify=false",
         f"docker-archive:{testdata}/app-v2.tar", f"docker://{registry.host}/app:1")  # fmt: skip
    digest = "sha256:" + hashlib.sha256(raw(need, registry.host, "app:1")).hexdigest()
    for dest in ("store/", "app.tar"):
        pulled = ours(ocitool, "pull", f"{registry.host}/app:1", f"{tmp_path}/{dest}")
        assert [digest] == [one["digest"] for one in pulled["images"]]
        assert pulled["verified"]
        assert 0 == ocitool("validate", f"{tmp_path}/{dest}").code
    assert 0 == ocitool("diff", "--semantic", tmp_path / "app.tar", testdata / "app-v2.tar").code


def test_what_buildah_pushed_we_pull(
    registry: RealRegistry, ocitool: Run, need: Callable[..., str], testdata: Path, tmp_path: Path
) -> None:
    need("root")
    store = (need("buildah"), "--root", tmp_path / "root", "--runroot", tmp_path / "run", "--storage-driver", "vfs")
    image = call(*store, "pull", "-q", f"docker-archive:{testdata}/app-v2.tar").decode().split()[-1]
    call(*store, "push", "-q", "--tls-verify=false", image, f"docker://{registry.host}/app:1")
    pulled = ours(ocitool, "pull", f"{registry.host}/app:1", tmp_path / "app.tar")
    assert 0 == ocitool("diff", "--semantic", tmp_path / "app.tar", testdata / "app-v2.tar").code
    assert "sha256:" + hashlib.sha256(raw(need, registry.host, "app:1")).hexdigest() == pulled["images"][0]["digest"]


def test_docker_pulls_what_we_pushed_and_we_what_docker_pushed(
    registry: RealRegistry, ocitool: Run, docker_engine: Any, testdata: Path, tmp_path: Path
) -> None:
    pushed = ours(ocitool, "push", testdata / "app-v2.tar", f"{registry.host}/app:1")
    docker_engine("pull", "-q", f"{registry.host}/app:1")
    assert (
        pushed["images"][0]["imageId"]
        == docker_engine("image", "inspect", "--format", "{{.Id}}", f"{registry.host}/app:1").stdout.decode().strip()
    )
    docker_engine("tag", f"{registry.host}/app:1", f"{registry.host}/theirs:1")
    docker_engine("push", "-q", f"{registry.host}/theirs:1")
    pulled = ours(ocitool, "pull", f"{registry.host}/theirs:1", tmp_path / "theirs.tar")
    assert pushed["images"][0]["imageId"] == pulled["images"][0]["imageId"]
    assert 0 == ocitool("validate", tmp_path / "theirs.tar").code
    docker_engine("rmi", "-f", pulled["images"][0]["imageId"])


def test_a_second_push_and_pull_move_no_blob(registry: RealRegistry, ocitool: Run, testdata: Path, tmp_path: Path) -> None:
    first = ours(ocitool, "push", testdata / "app-v2.tar", f"{registry.host}/app:1")
    ours(ocitool, "pull", f"{registry.host}/app:1", f"{tmp_path}/store/")
    registry.clear_log()
    again = ours(ocitool, "push", testdata / "app-v2.tar", f"{registry.host}/app:1")
    pulled = ours(ocitool, "pull", f"{registry.host}/app:1", f"{tmp_path}/store/")
    assert [] == registry.requests("POST|PATCH|PUT", "/blobs/") + registry.requests("GET", "/blobs/")
    assert first["images"] == again["images"]
    assert pulled["bytes"]["skipped"] and not pulled["bytes"]["kept"]


def test_a_push_sends_the_layer_that_differs_its_configuration_and_its_manifest(
    registry: RealRegistry, ocitool: Run, testdata: Path, tmp_path: Path
) -> None:
    ours(ocitool, "push", testdata / "app-v2.tar", f"{registry.host}/app:1")
    before = registry.blobs()
    assert 0 == ocitool("edit", "-q", testdata / "app-v2.tar", tmp_path / "new.tar", "--add", f"{__file__}:/srv/new").code
    registry.clear_log()
    pushed = ours(ocitool, "push", tmp_path / "new.tar", f"{registry.host}/app:2", "--compression", "gzip")
    new = {digest: size for digest, size in registry.blobs().items() if digest not in before}
    (image,) = pushed["images"]
    changed = [layer["digest"] for layer in image["layers"] if layer["digest"] not in before]
    assert 1 == len(changed)
    assert {*changed, image["imageId"], image["digest"]} == set(new)
    assert 2 == len(registry.requests("PUT", "/blobs/uploads/"))
    assert sum(new.values()) == pushed["bytes"]["transferred"]


def test_a_copy_between_repositories_of_one_registry_sends_no_layer(
    registry: RealRegistry, ocitool: Run, testdata: Path
) -> None:
    ours(ocitool, "push", testdata / "app-v2.tar", f"{registry.host}/app:1")
    registry.clear_log()
    ours(ocitool, "copy", f"docker://{registry.host}/app:1", f"docker://{registry.host}/prod/app:1")
    assert [] == registry.requests("PATCH|PUT", "/blobs/")
    mounts = registry.requests("POST", "mount=")
    assert mounts and {201} == {one.status for one in mounts}


def test_a_push_through_a_connection_that_breaks_is_completed(registry: RealRegistry, ocitool: Run, tmp_path: Path) -> None:
    layout = _layout(tmp_path / "image", 3_000_000)
    with Proxy(registry.host) as proxy:
        proxy.cut_after(1_000_000, side="client")
        pushed = ours(ocitool, "push", layout, f"{proxy.host}/app:1")
        assert 1 == proxy.cuts
    assert pushed["images"][0]["digest"] in registry.blobs()
    assert [notice["code"] for notice in pushed["notices"]] == ["retry"]
    assert 0 == ocitool("validate", "--insecure", f"docker://{registry.host}/app:1").code


def test_a_pull_goes_on_when_the_registry_was_killed_and_started_again(
    registry: RealRegistry, ocitool: Run, tmp_path: Path
) -> None:
    layout = _layout(tmp_path / "image", 3_000_000)
    ours(ocitool, "push", layout, f"{registry.host}/app:1")
    with Proxy(registry.host) as proxy:
        proxy.cut_after(1_500_000)
        registry.kill()
        failed = ocitool("pull", "--insecure", f"{proxy.host}/app:1", f"{tmp_path}/store/")
        assert failed.code == 8, str(failed)
        registry.start()
        ours(ocitool, "pull", f"{proxy.host}/app:1", f"{tmp_path}/store/")
    assert 0 == ocitool("validate", tmp_path / "store").code


def _layout(directory: Path, size: int) -> Path:
    """One image with one layer of so many bytes that no codec makes shorter."""
    import io
    import random
    import tarfile

    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = size
        tar.addfile(member, io.BytesIO(random.Random(1).randbytes(size)))
    layer = put(plain.getvalue())
    config = {"os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(json.dumps(config).encode())},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **layer}],
    }  # fmt: skip
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    index = {"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, **put(json.dumps(manifest).encode())}]}
    (directory / "index.json").write_text(json.dumps(index))
    return directory
