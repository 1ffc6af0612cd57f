"""Images of real engines: dockerd with a graph driver, and Podman's service. From file to engine to file every configuration
stays the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.podman_service import NoService, podman_service

IMAGES = ("app-v1.tar", "app-v2.tar", "empty-layers.tar", "hardlinks.tar", "whiteouts.tar", "xattrs.tar")


@dataclass(frozen=True, slots=True)
class Place:
    """An engine, and a command with its address."""

    host: str
    run: Callable[..., Any]


@pytest.fixture(scope="session")
def podman(need: Callable[..., str]) -> Iterator[str]:
    """The address of a Podman service."""
    need("podman", "root")
    try:
        with podman_service() as host:
            yield host
    except NoService as error:
        pytest.fail(f"podman did not start:\n{error}", pytrace=False)


@pytest.fixture(params=["docker", "podman"])
def place(request: pytest.FixtureRequest, ocitool: Callable[..., Any], tmp_path: Path) -> Place:
    host = request.getfixturevalue("docker_engine").host if request.param == "docker" else request.getfixturevalue("podman")

    def run(*words: Any, code: int | None = 0) -> Any:
        result = ocitool(*words, "--host", host, cwd=tmp_path)
        assert code in (None, result.code), result
        return result

    return Place(host, run)


def images(result: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result.json()["images"]
    return found


@pytest.mark.parametrize("name", IMAGES)
def test_file_engine_file(place: Place, testdata: Path, tmp_path: Path, name: str) -> None:
    there = f"docker-daemon:round/{name.removesuffix('.tar')}:1"
    (sent,) = images(place.run("copy", testdata / name, there, "--format", "json"))
    (back,) = images(place.run("copy", there, "back/", "--format", "json"))
    assert sent["imageId"] == back["imageId"]
    assert [one["diffId"] for one in sent["layers"]] == [one["diffId"] for one in back["layers"]]
    before, after = (place.run("inspect", "--raw", "config", one).stdout for one in (testdata / name, there))
    assert before == after
    place.run("validate", "back/")
    found = place.run("diff", testdata / name, "back/", "--verify", "--format", "json", code=None).json()
    assert ([], True) == (found["files"], found["verified"])
    assert [] == [one for one in found["config"] if one["document"] == "config"]


def test_the_engine_knows_the_image_that_was_sent(place: Place, testdata: Path) -> None:
    (sent,) = images(place.run("copy", testdata / "app-v1.tar", "docker-daemon:known:7", "--format", "json"))
    (shown,) = images(place.run("inspect", "docker-daemon:known:7", "--format", "json"))
    assert sent["imageId"] == shown["imageId"]
    assert not shown["configVerbatim"]
    by_id = images(place.run("inspect", f"docker-daemon:{sent['imageId']}", "--format", "json"))
    assert shown["layers"] == by_id[0]["layers"]


def test_what_the_engine_says_is_what_the_image_is(place: Place, testdata: Path) -> None:
    """Settings, platform, diff_ids, and the history as far as it is paired."""
    place.run("copy", testdata / "app-v2.tar", "docker-daemon:said:1")
    (said,) = images(place.run("inspect", "docker-daemon:said:1", "--format", "json"))
    (exact,) = images(place.run("inspect", "docker-daemon:said:1", "--files", "--format", "json"))
    assert exact["configVerbatim"]
    for key in ("imageId", "platform", "created", "volumes", "exposedPorts", "tags"):
        assert exact[key] == said[key] or key == "tags", key
    assert [one["diffId"] for one in exact["layers"]] == [one["diffId"] for one in said["layers"]]
    for key in ("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Labels"):
        assert exact["config"].get(key) == said["config"].get(key), key
    for one, other in zip(said["layers"], exact["layers"], strict=True):
        assert one["createdBy"] in (None, other["createdBy"])


def test_an_image_that_is_there_is_not_sent_again(place: Place, testdata: Path) -> None:
    place.run("copy", testdata / "app-v1.tar", "docker-daemon:once:1")
    sizes = place.run("copy", testdata / "app-v1.tar", "docker-daemon:once:2", "--format", "json").json()["bytes"]
    assert 0 == sizes["kept"] == sizes["written"]
    first, second = (images(place.run("inspect", f"docker-daemon:once:{n}", "--format", "json"))[0] for n in (1, 2))
    assert first["imageId"] == second["imageId"]


def test_a_name_moves_to_another_image(place: Place, testdata: Path) -> None:
    for name in ("app-v1.tar", "app-v2.tar"):
        (sent,) = images(place.run("copy", testdata / name, "docker-daemon:moves:1", "--format", "json"))
        (shown,) = images(place.run("inspect", "docker-daemon:moves:1", "--format", "json"))
        assert sent["imageId"] == shown["imageId"]


def test_compressed_layers_are_loaded(place: Place, testdata: Path) -> None:
    place.run("copy", testdata / "app-v1.tar", "small/", "--compression", "gzip", "--tag", "app")
    (sent,) = images(place.run("copy", "small:app", "docker-daemon:gzip:1", "--format", "json"))
    (shown,) = images(place.run("inspect", "docker-daemon:gzip:1", "--format", "json"))
    assert sent["imageId"] == shown["imageId"]


def test_with_finds_the_blobs_that_an_engine_has_unpacked(place: Place, testdata: Path, tmp_path: Path) -> None:
    place.run("copy", testdata / "app-v1.tar", "small/", "--compression", "gzip", "--tag", "app")
    place.run("copy", "small:app", "docker-daemon:again:1")
    (back,) = images(place.run("copy", "docker-daemon:again:1", "back/", "--with", "small:app", "--format", "json"))
    (first,) = images(place.run("inspect", "small:app", "--format", "json"))
    assert [one["digest"] for one in first["layers"]] == [one["digest"] for one in back["layers"]]


def test_what_is_not_there(place: Place) -> None:
    assert "the engine has no image none/none:latest" in place.run("inspect", "docker-daemon:none/none", code=3).err
    assert "the engine has no image" in place.run("copy", f"docker-daemon:sha256:{'0' * 64}", "x.tar", code=3).err


def test_zstd_is_refused_by_an_old_engine_before_anything_is_sent(
    docker_engine: Any, ocitool: Callable[..., Any], testdata: Path, tmp_path: Path
) -> None:
    if tuple(map(int, api_version(docker_engine).split("."))) >= (1, 42):
        pytest.skip("this engine loads layers in zstd")
    words = ("copy", testdata / "app-v1.tar", "docker-daemon:zstd:1", "--host", docker_engine.host, "--compression")
    result = ocitool(*words, "zstd")
    assert 4 == result.code, result
    assert "--compression gzip" in result.err
    assert 0 == ocitool(*words, "gzip").code


def test_a_container_runs_from_what_was_edited_there(docker_engine: Any, ocitool: Callable[..., Any], testdata: Path) -> None:
    host = ("--host", docker_engine.host)
    assert 0 == ocitool("copy", testdata / "app-v1.tar", "docker-daemon:edited:1", *host).code
    assert 0 == ocitool("edit", "docker-daemon:edited:1", "docker-daemon:edited:2", "--env", "NEW=value", *host).code
    shown = json.loads(docker_engine("image", "inspect", "edited:2").stdout)
    assert "NEW=value" in shown[0]["Config"]["Env"]
    assert ["edited:2"] == shown[0]["RepoTags"]


def api_version(engine: Any) -> str:
    shown: str = json.loads(engine("version", "--format", "{{json .Server}}").stdout)["ApiVersion"]
    return shown
