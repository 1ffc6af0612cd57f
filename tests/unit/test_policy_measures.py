"""What a budget measures in an image."""

from __future__ import annotations

import pytest
from support.images import layer_tar
from support.layers import scanned

from ocitool.layers.index import LayerIndex
from ocitool.policy.dive_measures import dive_measures
from ocitool.trees.nodes import HiddenFile
from ocitool.trees.tree import Tree, visible_bytes
from ocitool.trees.waste import hidden_bytes, waste

Files = list[tuple[str, bytes | str | None]]


def tree(*layers: Files) -> tuple[Tree, list[HiddenFile]]:
    hidden: list[HiddenFile] = []
    return Tree([index(layer) for layer in layers], hidden=hidden.append), hidden


def index(files: Files) -> LayerIndex:
    return scanned(layer_tar(files))


def test_the_size_counts_a_file_with_several_names_once() -> None:
    assert 7 == visible_bytes(tree([("a", b"1234"), ("b", "hard:a"), ("c", "link:a")], [("d", b"123")])[0])


def test_names_of_one_file_are_gathered_once_for_all_files(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    gathered = Tree.shared.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Tree, "shared", property(lambda self: asked.append(1) or gathered(self)))
    layer: Files = [(f"a{n}", b"1") for n in range(9)]
    assert 9 == visible_bytes(tree([*layer, *((f"b{n}", f"hard:a{n}") for n in range(9))])[0])
    assert [1] == asked


def test_waste_is_what_inspect_says() -> None:
    layers: list[Files] = [[("a", b"1234"), ("b", b"12"), ("d/x", b"1")], [("a", b"5"), (".wh.b", b""), (".wh.d", b"")]]
    found = waste([index(layer) for layer in layers], lambda number, held, rows: held, 0)
    assert 7 == hidden_bytes(*tree(*layers)) == found.total()[1]


@pytest.mark.parametrize(
    ("layers", "efficiency", "wasted", "share"),
    [
        pytest.param([[("a", b"12345678")]], 1.0, 0, 0.0, id="one-layer"),
        pytest.param([[]], 1.0, 0, 0.0, id="empty"),
        pytest.param([[("a", b"1234")], [("a", b"12345678")]], 4 / 12, 12, 12 / 8, id="overwritten"),
        pytest.param([[("a", b"1234"), ("b", b"1234")], [(".wh.a", b"")]], 4 / 8, 4, 0.0, id="deleted"),
        pytest.param([[("d/a", b"1234"), ("d/b", b"12")], [(".wh.d", b"")]], 1.0, 0, 0.0, id="directory-deleted-once"),
        pytest.param(
            [[("d/a", b"1234")], [(".wh.d", b"")], [("d/a", b"12")], [(".wh.d", b""), ("e", b"123")]],
            (2 + 2 + 3) / (6 + 6 + 3), 6 + 6, 12 / 5, id="directory-deleted-twice",
        ),
        pytest.param([[("a", b"1234")], [("b", "hard:a"), ("a", b"12")]], 2 / 6, 6, 6 / 2, id="hard-links-have-no-size"),
    ],
)  # fmt: skip
def test_dive_measures_paths_by_layer(layers: list[Files], efficiency: float, wasted: int, share: float) -> None:
    found = dive_measures(*tree(*layers))
    assert {
        "lowestEfficiency": pytest.approx(efficiency),
        "highestWastedBytes": wasted,
        "highestUserWastedPercent": pytest.approx(share),
    } == found
