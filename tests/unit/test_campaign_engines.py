"""The campaign `engines` finds what it looks for: images that came out as others, paths that differ, what was left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from campaign import engines
from campaign.engines import Bench, Law, judged, paths_agree, same
from campaign.registries import Wrong
from support.engine import ScriptedEngine
from support.images import image, layer_tar

ONE = {"imageId": "i", "digest": "d", "layers": [{"diffId": "x", "digest": "b"}]}
OTHER = image([layer_tar([("other", b"other")])], tag="other:1", codec="none")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ScriptedEngine(api="1.44") as engine:
        bench = Bench(engine.host, tmp_path, client=engine)
        yield bench


def test_an_image_that_came_out_as_another_is_found() -> None:
    same(ONE, dict(ONE), "it", exact=True)
    for changed in ({"imageId": "j"}, {"layers": []}, {"layers": [{"diffId": "y", "digest": "b"}]}):
        with pytest.raises(Wrong, match="it: "):
            same(ONE, ONE | changed, "it", exact=False)
    for changed in ({"digest": "e"}, {"layers": [{"diffId": "x", "digest": "c"}]}):
        same(ONE, ONE | changed, "it", exact=False)
        with pytest.raises(Wrong, match="it: "):
            same(ONE, ONE | changed, "it", exact=True)


def test_paths_that_docker_diff_has_otherwise_are_found() -> None:
    paths_agree(["C /etc", "A /etc/new", "D /old"], ["/etc/new", "/old"])
    with pytest.raises(Wrong, match="lists /old too"):
        paths_agree(["A /new", "D /old"], ["/new"])
    with pytest.raises(Wrong, match="does not list /more"):
        paths_agree(["A /new"], ["/more", "/new"])


def test_a_command_that_ends_otherwise_is_found(bench: Bench) -> None:
    with pytest.raises(Wrong, match="ends with 3: "):
        bench.run("inspect", "docker-daemon:none")
    with pytest.raises(Wrong, match="ends with 0"):
        bench.client.add(OTHER)
        bench.run("inspect", "docker-daemon:other:1", code=3)


def test_an_engine_that_keeps_no_documents_is_none_of_containerd(bench: Bench) -> None:
    """It gives the layers back in another compression, under another manifest."""
    engines.recovered(bench)
    bench.containerd = True
    with pytest.raises(Wrong, match="app-v1"):
        engines.round_trip(bench)
    with pytest.raises(Wrong, match="notice of plain layers"):
        engines.plain(bench)


def test_an_engine_that_loses_settings_is_found(bench: Bench) -> None:
    add: Callable[..., Any] = bench.client.add

    def lose(kept: Any, *names: str) -> Any:
        found = add(kept, *names)
        found.more["Config"] = {"Env": ["LOST=1"]}
        return found

    bench.client.add = lose
    with pytest.raises(Wrong, match="volumes: "):
        engines.described(bench)


def test_what_a_law_leaves_behind_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = iter([{"containers": [], "volumes": []}, {"containers": [], "volumes": ["left"]}])
    monkeypatch.setattr(engines, "held", lambda client: next(held))
    assert judged(Law("nothing", lambda bench: None), Bench("", tmp_path, client=object())) == (
        "the volumes of the engine: ['left'] instead of []"
    )
    assert judged(Law("nothing", lambda bench: None), Bench("", tmp_path)) is None
