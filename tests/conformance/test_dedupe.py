"""`dedupe` of what a real docker-registry holds: whoever pushed it, the numbers are those of a layout of the same images."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.real_registry import RealRegistry, real_registry
from support.report import report_of

pytestmark = pytest.mark.tools
Run = Callable[..., Any]
SOURCES = {"v1": "app-v1.tar", "v2": "app-v2.tar", "gz": "encodings/oci-gzip.tar", "all": "multiarch:latest"}
OWN = ("kind", "digest", "imageId", "platforms", "layers", "own", "shared", "marginal")


@pytest.fixture
def registry(need: Callable[..., str], tmp_path: Path) -> Iterator[RealRegistry]:
    need("docker-registry", "skopeo")
    (tmp_path / "registry").mkdir()
    with real_registry(tmp_path / "registry") as made:
        yield made


def skopeo(*words: str | Path) -> None:
    command = ["skopeo", "--insecure-policy", *map(str, words)]
    done = subprocess.run(command, capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
    assert 0 == done.returncode, done.stderr.decode()


def ours(run: Run, *words: str | Path) -> Any:
    return report_of(run(*words, "--insecure", "--format", "json"))


@pytest.fixture
def store(ocitool: Run, testdata: Path, tmp_path: Path) -> Path:
    """A layout of two builds of one image, one of them in two encodings, and of one for several platforms."""
    for name, source in SOURCES.items():
        words = ("copy", "--all-platforms", testdata / source, f"oci:{tmp_path}/store:{name}", "--format", "json")
        report_of(ocitool(*words))
    return tmp_path / "store"


def pushed(run: Run, how: str, store: Path, registry: RealRegistry) -> None:
    for name in SOURCES:
        if how == "skopeo":
            place = f"docker://{registry.host}/team/app:{name}"
            skopeo("copy", "--all", "--preserve-digests", "--dest-tls-verify=false", f"oci:{store}:{name}", place)
        else:
            ours(run, "push", "--all-platforms", f"{store}:{name}", f"{registry.host}/team/app:{name}")


def numbers(report: Any) -> Any:
    images = sorted(json.dumps({name: one[name] for name in OWN}, sort_keys=True) for one in report["images"])
    shared = sorted((one["digest"], one["diffId"], one["saved"], len(one["images"])) for one in report["sharedLayers"])
    bases = sorted((one["chainId"], one["layers"], one["saved"], len(one["images"])) for one in report["bases"])
    equal = sorted((one["diffId"], one["digests"], one["sizes"]) for one in report["equalUncompressed"])
    stored = {name: size for name, size in report["bytes"].items() if name not in ("onDisk", "atRegistries")}
    return images, shared, bases, equal, stored, *(report[name] for name in ("layers", "files", "problems"))


@pytest.mark.parametrize("how", ["skopeo", "ocitool"])
@pytest.mark.parametrize("words", [(), ("--files", "--no-cache")], ids=["documents", "files"])
def test_the_numbers_of_a_registry_are_those_of_a_layout(
    words: tuple[str, ...], how: str, registry: RealRegistry, ocitool: Run, store: Path
) -> None:
    pushed(ocitool, how, store, registry)
    here = ours(ocitool, "dedupe", store, *words)
    assert (4, []) == (len(here["images"]), here["problems"])
    assert here["bytes"]["saved"] > 0
    for place in ((f"docker://{registry.host}/team/app", "--tags", "*"), (f"docker://{registry.host}", "--repos", "team/*")):
        there = ours(ocitool, "dedupe", *place, *words)
        assert numbers(here) == numbers(there)
        assert (here["bytes"]["onDisk"], None) == (there["bytes"]["atRegistries"], there["bytes"]["onDisk"])


def test_what_is_unique_is_what_the_registry_stores(registry: RealRegistry, ocitool: Run, store: Path) -> None:
    pushed(ocitool, "ocitool", store, registry)
    report = ours(ocitool, "dedupe", f"docker://{registry.host}", "--repos", "*")
    assert registry.blob_bytes() == report["bytes"]["unique"]


def test_no_layer_is_fetched_and_no_configuration_twice(registry: RealRegistry, ocitool: Run, store: Path) -> None:
    pushed(ocitool, "ocitool", store, registry)
    registry.clear_log()
    ours(ocitool, "dedupe", f"docker://{registry.host}", "--repos", "*", "--jobs", "8")
    asked = [one.path.rpartition("/")[2] for one in registry.requests(".*", "/blobs/")]
    assert 0 < len(asked) == len(set(asked))
    documents = [json.loads(path.read_bytes()) for path in (store / "blobs/sha256").iterdir() if _is_json(path)]
    assert set(asked) <= {one["config"]["digest"] for one in documents if "config" in one and "layers" in one}


def _is_json(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"{"
