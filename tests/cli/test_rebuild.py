"""`ocitool rebuild`: the wanted file system out of the very layers of an older image, and nothing that was not wanted."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.copying import AMD, ARM, refused
from support.images import (
    AnyEntry,
    Image,
    config_of,
    entry,
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
    write_oci_archive,
)
from support.reference_tools import FileSystem, ours
from support.registries import random_bytes
from support.report import report_of

from ocitool.images.image import Image as Opened
from ocitool.images.platform_choice import single
from ocitool.layers.entry import Kind
from ocitool.layers.scan import index_layer
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.opening import open_source
from ocitool.trees.tree import Tree
from ocitool.validation import validate

Run = Callable[..., Any]
THEN, NOW = 1_600_000_000, 1_700_000_000
DELTA = "ocitool rebuild --plan delta"
BIN, LIB = random_bytes(5000, 1), random_bytes(3000, 2)


def timed(entries: Sequence[AnyEntry], seconds: int) -> bytes:
    """A layer at this time: as it was built then."""
    made = [item if isinstance(item[0], tuple) else entry(*item, mtime=seconds * 10**9) for item in entries]  # type: ignore
    return layer_tar(made)  # type: ignore[arg-type]


BASE: list[AnyEntry] = [("bin/", None), ("bin/sh", BIN), ("bin/ash", "hard:bin/sh"), ("sh", "link:bin/sh")]
LIBS: list[AnyEntry] = [("lib/", None), ("lib/c", LIB)]
APP: list[AnyEntry] = [("srv/", None), ("srv/app", b"one" * 99)]
NEXT: list[AnyEntry] = [("srv/", None), ("srv/app", b"two" * 99)]
OLD = [timed(BASE, THEN), timed(LIBS, THEN), timed(APP, THEN)]
NEW = [timed(BASE, NOW), timed(LIBS, NOW), timed(NEXT, NOW)]
"""The same but for times, and the last layer."""


def history(count: int, when: str, what: str = "RUN") -> list[dict[str, Any]]:
    return [{"created": when, "created_by": f"{what} {n}"} for n in range(count)]


def older(tars: Sequence[bytes], **changes: Any) -> Image:
    return image(tars, **{"tag": "old:1", "history": history(len(tars), "2023-01-01T00:00:00Z", "OLD")} | changes)


def newer(tars: Sequence[bytes], **changes: Any) -> Image:
    return image(tars, **{"tag": "new:1", "history": history(len(tars), "2024-01-01T00:00:00Z", "NEW")} | changes)


def put(place: Path, one: Image) -> Path:
    return write_layout(place, [one])


class Made(NamedTuple):
    """What a rebuild wrote. outcome: what its report says of the one image."""

    path: Path
    image: Opened
    tree: FileSystem
    report: Any
    outcome: Any

    @property
    def digests(self) -> list[str]:
        return [str(layer.digest) for layer in self.image.layers]

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.image.config.fields)

    @property
    def codes(self) -> list[str]:
        return [notice["code"] for notice in self.report["notices"]]

    def names(self, layer: int) -> list[str]:
        blob = self.image.layers[layer].blob
        assert blob is not None
        return tarfile.open(fileobj=io.BytesIO(b"".join(blob.chunks()))).getnames()


def opened(path: Path) -> tuple[Opened, FileSystem]:
    with Task() as task:
        found = single(open_source(str(path), "layers", task), None)
        return found, ours(found, task)


def errors(path: Path) -> list[str]:
    """What `ocitool validate` finds that is an error."""
    with Task() as task:
        checked = validate(str(path), task)
    return [str(finding) for finding in checked.findings if finding.severity == "error"]


def seen(path: Path) -> FileSystem:
    """The file system without times."""
    return untimed(opened(path)[1])


def untimed(tree: FileSystem) -> FileSystem:
    return {path: {name: value for name, value in fields.items() if name != "mtime"} for path, fields in tree.items()}


def rebuilt(
    ocitool: Run, new: Path, against: Path | Sequence[Path], *words: str, to: str = "made", like: Path | None = None,
    broken: bool = False,
) -> Made:  # fmt: skip
    """A rebuild into a layout beside NEW: valid, and NEW's file system (that of `like`), which is compared here and not by the
    command. broken: NEW itself is not valid."""
    path = new.parent / to
    olds = [against] if isinstance(against, Path) else against
    named = [word for old in olds for word in ("--against", str(old))]
    report = report_of(ocitool("rebuild", new, f"oci:{path}", *named, *words, "--format", "json"))
    assert broken or [] == errors(path)
    found, tree = opened(path)
    if "--ignore-path" not in words:
        assert seen(like or new) == untimed(tree)
    (outcome,) = report["details"]["rebuilt"]
    return Made(path, found, tree, report, outcome)


def digests(one: Image) -> list[str]:
    return [str(layer["digest"]) for layer in one.manifest["layers"]]


def paths(outcome: Sequence[dict[str, str]]) -> list[str]:
    return [one["path"] for one in outcome]


def hows(made: Made) -> list[str]:
    return [layer["match"] for layer in made.outcome["layers"]]


def plans(made: Made) -> dict[str, Any]:
    return {plan["plan"]: plan["transfer"] for plan in made.outcome["plans"]}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return put(tmp_path / "old", older(OLD))


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return put(tmp_path / "new", newer(NEW))


# Which layers are taken


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_layers_equal_but_for_times_are_the_old_blobs_whatever_their_compression(
    ocitool: Run, new: Path, tmp_path: Path, codec: str
) -> None:
    before, wanted = older(OLD, codec=codec), newer(NEW)
    made = rebuilt(ocitool, new, put(tmp_path / "old", before))
    assert [*digests(before)[:2], digests(wanted)[2]] == made.digests
    assert (["equal", "equal", "changed"], "reuse") == (hows(made), made.outcome["plan"])
    assert ["reused", "reused", "kept"] == [layer["origin"] for layer in made.report["images"][0]["layers"]]


def test_a_layer_whose_compression_no_media_type_states_keeps_its_media_type(ocitool: Run, new: Path, tmp_path: Path) -> None:
    before = older(OLD, codec="bzip2")
    for layer in before.manifest["layers"]:
        layer["mediaType"] = mediatypes.OCI_LAYER + "+gzip"
    made = rebuilt(ocitool, new, put(tmp_path / "old", before), broken=True)
    assert digests(before)[:2] == made.digests[:2]
    assert {mediatypes.OCI_LAYER + "+gzip"} == {layer.media_type for layer in made.image.layers[:2]}


def test_layers_of_the_same_tar_are_the_old_blobs(ocitool: Run, new: Path, tmp_path: Path) -> None:
    before = older(NEW[:2], codec="zstd")
    made = rebuilt(ocitool, new, put(tmp_path / "old", before))
    assert digests(before) == made.digests[:2]
    assert ["same", "same", "changed"] == hows(made)


def test_the_same_blob_goes_before_the_same_tar_and_that_before_equal_entries(ocitool: Run, new: Path, tmp_path: Path) -> None:
    equal, tar, blob = older(OLD), older(NEW, codec="zstd"), older(NEW[:1])
    olds = [put(tmp_path / f"old{n}", one) for n, one in enumerate((equal, tar, blob))]
    made = rebuilt(ocitool, new, olds)
    assert [digests(newer(NEW))[0], *digests(tar)[1:]] == made.digests
    assert [str(olds[2]), str(olds[1]), str(olds[1])] == [layer["old"]["image"] for layer in made.outcome["layers"]]


def test_several_old_images_lend_layers_wherever_these_stand(ocitool: Run, new: Path, tmp_path: Path) -> None:
    one, two = older([OLD[2], OLD[1]]), older([timed(NEXT, THEN), OLD[0]])
    olds = [put(tmp_path / "one", one), put(tmp_path / "two", two)]
    made = rebuilt(ocitool, new, olds)
    assert [digests(two)[1], digests(one)[1], digests(two)[0]] == made.digests
    assert [(str(olds[1]), 1), (str(olds[0]), 1), (str(olds[1]), 0)] == [
        (layer["old"]["image"], layer["old"]["layer"]) for layer in made.outcome["layers"]
    ]


def test_entries_in_another_order_are_equal(ocitool: Run, new: Path, tmp_path: Path) -> None:
    before = older([timed([BASE[3], *BASE[:3]], THEN)])
    assert digests(before) == rebuilt(ocitool, new, put(tmp_path / "old", before)).digests[:1]


FILE = entry("f", b"content")
FIELDS: dict[str, tuple[AnyEntry, AnyEntry]] = {
    "content": (FILE, entry("f", b"CONTENT")),
    "size": (FILE, entry("f", b"content+")),
    "path": (FILE, entry("g", b"content")),
    "type": (entry("f"), entry("f", kind=Kind.FIFO)),
    "mode": (FILE, entry("f", b"content", mode=0o4644)),
    "uid": (FILE, entry("f", b"content", uid=1)),
    "gid": (FILE, entry("f", b"content", gid=1)),
    "xattrs": (FILE, entry("f", b"content", xattrs=((b"user.a", b"1"),))),
    "link": (entry("l", "link:a"), entry("l", "link:b")),
    "hard": (entry("l", "hard:x"), entry("l", "hard:y")),
    "device": (entry("d", kind=Kind.CHAR, device=(1, 3)), entry("d", kind=Kind.CHAR, device=(1, 5))),
    "whiteout": (entry(".wh.x"), entry(".wh.y")),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_layer_that_differs_in_anything_but_times_is_the_new_one(ocitool: Run, tmp_path: Path, field: str) -> None:
    lower = layer_tar([("x", b"x"), ("y", b"y")])
    before, wanted = ([lower, layer_tar([("etc/", None), one])] for one in FIELDS[field])
    new, old = put(tmp_path / "new", newer(wanted)), put(tmp_path / "old", older(before))
    made = rebuilt(ocitool, new, old, "--plan", "reuse")
    assert (["same", "changed"], digests(newer(wanted))) == (hows(made), made.digests)


def test_strict_times_take_no_layer_of_other_times(ocitool: Run, new: Path, tmp_path: Path) -> None:
    before = older([NEW[0], *OLD[1:]])
    made = rebuilt(ocitool, new, put(tmp_path / "old", before), "--plan", "reuse", "--strict-times")
    assert (digests(newer(NEW)), ["same", "changed", "changed"]) == (made.digests, hows(made))
    assert opened(new)[1] == made.tree


def test_an_old_docker_archive_lends_its_tars(ocitool: Run, new: Path, tmp_path: Path) -> None:
    old = write_docker_archive(tmp_path / "old.tar", [older(OLD, codec="none")])
    made = rebuilt(ocitool, new, old)
    assert [*map(sha256, OLD[:2]), sha256(NEW[2])] == made.config["rootfs"]["diff_ids"]
    assert ["gzip"] * 3 == [layer.compression for layer in made.image.layers]


def test_a_new_docker_archive_gets_the_old_blobs(ocitool: Run, tmp_path: Path) -> None:
    new = write_docker_archive(tmp_path / "new.tar", [newer(NEW, codec="none")])
    before = older([NEW[0], OLD[1]])
    made = rebuilt(ocitool, new, put(tmp_path / "old", before))
    assert [*digests(before), sha256(NEW[2])] == made.digests


def test_a_docker_image_that_gets_a_zstd_layer_is_an_oci_image(ocitool: Run, tmp_path: Path) -> None:
    wanted, before = newer(NEW), older(OLD, codec="zstd")
    wanted.manifest["mediaType"] = mediatypes.DOCKER_MANIFEST
    wanted.manifest["config"]["mediaType"] = mediatypes.DOCKER_CONFIG
    for layer in wanted.manifest["layers"]:
        layer["mediaType"] = mediatypes.DOCKER_LAYER + ".gzip"
    made = rebuilt(ocitool, put(tmp_path / "new", wanted), put(tmp_path / "old", before))
    assert digests(before)[:2] == made.digests[:2]
    assert made.image.manifest is not None
    assert mediatypes.OCI_MANIFEST == made.image.manifest.media_type


def test_an_image_that_shares_nothing_is_kept_byte_for_byte(ocitool: Run, new: Path, tmp_path: Path) -> None:
    old = put(tmp_path / "old", older([layer_tar([("other", b"")])]))
    made = rebuilt(ocitool, new, old, "--plan", "reuse")
    assert newer(NEW).digest == str(made.image.digest)


def test_a_blob_that_old_has_stays_as_it_is_when_the_others_are_converted(ocitool: Run, new: Path, tmp_path: Path) -> None:
    before = older(OLD[:2])
    words = ("--plan", "reuse", "--compression", "zstd")
    made = rebuilt(ocitool, new, put(tmp_path / "old", before), *words)
    assert (digests(before), "zstd") == (made.digests[:2], made.image.layers[2].compression)


def test_an_image_of_which_no_layer_is_replaced_is_not_converted(ocitool: Run, new: Path, tmp_path: Path) -> None:
    words = ("--plan", "reuse", "--compression", "zstd")
    made = rebuilt(ocitool, new, put(tmp_path / "old", older(NEW[:2])), *words)
    assert newer(NEW).digest == str(made.image.digest)


# Layers that are equal, and would not do the same


def test_a_layer_that_depends_on_what_is_ignored_below_is_not_paired_with_it(ocitool: Run, tmp_path: Path) -> None:
    """Each layer is equal but for the ignored path, but a hard link of the upper one gives what is ignored another name."""
    upper = [layer_tar([("b", "hard:a")])]
    new = put(tmp_path / "new", newer([layer_tar([("a", b"new"), ("x", b"")]), *upper]))
    old = put(tmp_path / "old", older([layer_tar([("a", b"old"), ("x", b"")]), *upper]))
    made = rebuilt(ocitool, new, old, "--plan", "reuse", "--ignore-path", "a")
    assert seen(new)[b"b"] == untimed(made.tree)[b"b"]


def test_a_layer_whose_order_matters_is_reused_only_where_it_does_the_same(ocitool: Run, tmp_path: Path) -> None:
    tars = [layer_tar([("a", first), ("b", "hard:a"), ("a", b"last")]) for first in (b"one", b"two")]
    new, old = put(tmp_path / "new", newer(tars[:1])), put(tmp_path / "old", older(tars[1:]))
    assert digests(newer(tars[:1])) == rebuilt(ocitool, new, old, "--plan", "reuse").digests


def test_a_layer_is_not_equal_whose_hard_link_leads_to_a_content_that_a_later_entry_replaced(
    ocitool: Run, tmp_path: Path
) -> None:
    tars = [layer_tar([("a", first), ("b", "hard:a"), ("a", b"last")]) for first in (b"one", b"two")]
    new, old = put(tmp_path / "new", newer(tars[:1])), put(tmp_path / "old", older(tars[1:]))
    made = rebuilt(ocitool, new, old, "--plan", "as-is")  # where the report tells what `match` said
    assert ["changed"] == hows(made)


# .pyc files


def pyc(seconds: int, flags: int = 0) -> bytes:
    return b"\xcb\x0d\x0d\x0a" + flags.to_bytes(4, "little") + seconds.to_bytes(4, "little") + bytes(4) + b"code"


def python(
    tmp_path: Path, cache: Callable[[int], bytes], name: str = "p/__pycache__/m.cpython-311.pyc", *, also: bool = False,
    code: bool = False,
) -> tuple[Path, Path]:  # fmt: skip
    """NEW and OLD: a layer with a source, and one with what was compiled of it. also: something else differs in that one;
    code: the sources differ."""
    found = []
    for make, seconds in ((newer, NOW), (older, THEN)):
        source = timed([("p/", None), ("p/m.py", b"%d" % (seconds if code else 1))], seconds)
        more = [("p/more", b"%d" % seconds)] if also else []
        compiled = timed([("p/", None), ("p/__pycache__/", None), (name, cache(seconds)), *more], seconds)
        found.append(put(tmp_path / make.__name__, make([source, compiled])))
    return found[0], found[1]


@pytest.mark.parametrize("plan", ["reuse", "delta"])
@pytest.mark.parametrize("name", ["p/__pycache__/m.cpython-311.pyc", "p/m.pyc"])
def test_a_pyc_with_its_source_is_as_good_as_one_that_only_embeds_another_time(
    ocitool: Run, tmp_path: Path, name: str, plan: str
) -> None:
    """Both stay the old ones, and fit each other."""
    new, old = python(tmp_path, pyc, name)
    made = rebuilt(ocitool, new, old, "--plan", plan, like=old)
    assert (["equal", "equal"], ["/" + name], []) == (
        hows(made),
        paths(made.outcome["equalPyc"]),
        paths(made.outcome["stalePyc"]),
    )
    assert "pyc" in made.codes


def test_a_pyc_whose_source_stays_the_old_one_without_it_is_told(ocitool: Run, tmp_path: Path) -> None:
    """What was compiled stands in a layer that changed otherwise too."""
    pair = python(tmp_path, pyc, also=True)
    made = rebuilt(ocitool, *pair, "--plan", "reuse")
    assert (["equal", "changed"], ["/p/__pycache__/m.cpython-311.pyc"]) == (hows(made), paths(made.outcome["stalePyc"]))
    assert "stale-pyc" in made.codes


def test_a_pyc_whose_source_is_another_one_is_not_equal(ocitool: Run, tmp_path: Path) -> None:
    pair = python(tmp_path, pyc, code=True)
    made = rebuilt(ocitool, *pair, "--plan", "delta")
    assert ([], []) == (paths(made.outcome["equalPyc"]), paths(made.outcome["stalePyc"]))


@pytest.mark.parametrize(
    ("cache", "words"), [(lambda when: pyc(when, 1), ()), (lambda when: pyc(when + 1), ()), (pyc, ("strict",))]
)
def test_a_pyc_by_hash_or_wrong_before_or_with_strict_times_is_not_equal(
    ocitool: Run, tmp_path: Path, cache: Callable[[int], bytes], words: tuple[str, ...]
) -> None:
    made = rebuilt(ocitool, *python(tmp_path, cache), "--plan", "delta", *(f"--{word}-times" for word in words))
    assert ([], False) == (paths(made.outcome["equalPyc"]), "pyc" in made.codes)


def test_each_old_image_has_its_own_pyc_files(ocitool: Run, tmp_path: Path) -> None:
    new, old = python(tmp_path, pyc)
    other = put(tmp_path / "other", older([timed([("p/", None), ("p/m.py", b"1")], 5), layer_tar([("x", b"")])], tag="other:1"))
    made = rebuilt(ocitool, new, [other, old], "--plan", "reuse", like=old)
    assert ["equal", "equal"] == hows(made)


def test_a_delta_that_writes_a_pyc_for_its_other_name_writes_the_new_one(ocitool: Run, tmp_path: Path) -> None:
    new, old = python(tmp_path, pyc, "p/m.pyc")
    put(new, newer([timed([("p/", None), ("p/m.py", b"1"), ("p/m.pyc", pyc(NOW)), ("p/n.pyc", "hard:p/m.pyc")], NOW)]))
    made = rebuilt(ocitool, new, old, "--plan", "delta")
    assert ["/p/m.pyc"] == paths(made.outcome["stalePyc"])  # the other name has no source


def test_a_pyc_is_not_told_as_good_and_as_stale(ocitool: Run, tmp_path: Path) -> None:
    """The old one is taken, its source is not: that stands in a layer that changed otherwise."""
    found = []
    for make, when in ((newer, NOW), (older, THEN)):
        source = timed([("p/", None), ("p/m.py", b"1"), ("p/more", b"%d" % when)], when)
        found.append(put(tmp_path / make.__name__, make([source, timed([("p/", None), ("p/m.pyc", pyc(when))], when)])))
    report = report_of(
        ocitool("rebuild", found[0], f"oci:{tmp_path}/made", "--against", found[1], "--plan", "reuse", "--format", "json")
    )
    (outcome,) = report["details"]["rebuilt"]
    assert ([], ["/p/m.pyc"]) == (outcome["equalPyc"], paths(outcome["stalePyc"]))


# Ignored paths


def noted(tmp_path: Path, before: Sequence[AnyEntry], after: Sequence[AnyEntry]) -> tuple[Path, Path]:
    """NEW and OLD of one layer each."""
    return put(tmp_path / "new", newer([layer_tar(after)])), put(tmp_path / "old", older([layer_tar(before)]))


@pytest.mark.parametrize("plan", ["reuse", "delta"])
@pytest.mark.parametrize("glob", ["var/log/**", "/var/log/*.txt"])
def test_an_ignored_path_may_be_olds_and_is_reported(ocitool: Run, tmp_path: Path, plan: str, glob: str) -> None:
    shared: list[AnyEntry] = [("var/", None), ("var/log/", None), ("f", b"")]
    pair = noted(tmp_path, [*shared, ("var/log/a.txt", b"old")], [*shared, ("var/log/a.txt", b"new")])
    made = rebuilt(ocitool, *pair, "--plan", plan, "--ignore-path", glob)
    assert digests(older([layer_tar([*shared, ("var/log/a.txt", b"old")])])) == made.digests
    assert (["/var/log/a.txt"], True) == (paths(made.outcome["ignored"]), "ignored" in made.codes)


def test_ignored_paths_that_only_one_image_has_are_reported(ocitool: Run, tmp_path: Path) -> None:
    pair = noted(tmp_path, [("d/", None), ("d/a", b""), ("d/x", b"")], [("d/", None), ("d/b", b""), ("d/x", b"")])
    made = rebuilt(ocitool, *pair, "--plan", "reuse", "--ignore-path", "d/[ab]")
    assert (["equal"], ["/d/a", "/d/b"]) == (hows(made), paths(made.outcome["ignored"]))


def test_ignored_paths_are_reported_one_by_one_where_the_new_image_has_nothing_in_their_directory(
    ocitool: Run, tmp_path: Path
) -> None:
    pair = noted(tmp_path, [("d/", None), ("d/a", b""), ("d/b", b"")], [("d/", None)])
    made = rebuilt(ocitool, *pair, "--plan", "reuse", "--ignore-path", "d/*")
    assert (["equal"], {b"d", b"d/a", b"d/b"}) == (hows(made), set(made.tree))
    assert ["/d/a", "/d/b"] == paths(made.outcome["ignored"])


@pytest.mark.parametrize("plan", ["reuse", "delta"])
def test_what_is_in_an_ignored_directory_is_not_ignored_with_it(ocitool: Run, tmp_path: Path, plan: str) -> None:
    """This glob is of the directory alone, as `d` would not be: what NEW has in it must be there."""
    pair = noted(tmp_path, [("x", b"")], [("x", b""), ("d/", None), ("d/a", b"wanted")])
    made = rebuilt(ocitool, *pair, "--plan", plan, "--ignore-path", "[d]")
    assert seen(pair[0])[b"d/a"] == untimed(made.tree).get(b"d/a")


@pytest.mark.parametrize("plan", ["reuse", "delta"])
def test_what_old_has_in_an_ignored_directory_is_gone_with_new(ocitool: Run, tmp_path: Path, plan: str) -> None:
    pair = noted(tmp_path, [("x", b""), ("d/", None), ("d/a", b"gone")], [("x", b"")])
    made = rebuilt(ocitool, *pair, "--plan", plan, "--ignore-path", "d")
    assert b"d/a" not in made.tree


def test_an_ignored_glob_that_matches_nothing_is_2_or_noted(ocitool: Run, new: Path, old: Path, tmp_path: Path) -> None:
    words = ("rebuild", new, tmp_path / "out.tar", "--against", old, "--ignore-path", "**", "--ignore-path", "vra/log/**")
    result = ocitool(*words)
    assert (2, False) == (result.code, (tmp_path / "out.tar").exists()), str(result)
    assert "--ignore-path vra/log/** matches no path of NEW or OLD" in result.err and "hint: " in result.err
    result = ocitool(*words, "--allow-no-match")
    assert (0, True) == (result.code, "note: --ignore-path vra/log/** matches no path" in result.err), str(result)


def test_nothing_is_reported_as_ignored_where_nothing_differs(ocitool: Run, new: Path) -> None:
    made = rebuilt(ocitool, new, new, "--ignore-path", "**")
    assert ([], False) == (paths(made.outcome["ignored"]), "ignored" in made.codes)


# Plan delta


def test_a_delta_is_all_old_layers_and_one_small_one(ocitool: Run, new: Path, old: Path) -> None:
    made = rebuilt(ocitool, new, old, "--plan", "delta")
    assert digests(older(OLD)) == made.digests[:-1]
    assert ["srv", "srv/app"] == made.names(3)
    assert ["reused"] * 3 + ["new"] == [layer["origin"] for layer in made.report["images"][0]["layers"]]


def test_a_delta_hides_what_the_new_image_has_not(ocitool: Run, old: Path, tmp_path: Path) -> None:
    new = put(tmp_path / "new", newer([NEW[0], timed([("lib", "link:bin")], NOW)]))
    made = rebuilt(ocitool, new, old, "--plan", "delta")
    assert [".wh.srv", "lib"] == sorted(made.names(3))


def test_a_delta_names_the_bytes_and_paths_that_it_ships_and_nobody_sees(ocitool: Run, tmp_path: Path) -> None:
    before = [layer_tar([("a", b"a" * 10), ("b", b"b" * 30), ("c", b"c")]), layer_tar([("gone", b"g" * 20), (".wh.c", b"")])]
    new = put(tmp_path / "new", newer([layer_tar([("a", b"a" * 10), ("b", b"B" * 30)])]))
    made = rebuilt(ocitool, new, put(tmp_path / "old", older(before)), "--plan", "delta")
    hidden = made.outcome["delta"]["hidden"]
    assert [
        {"path": "/b", "size": 30, "layer": 0, "kind": "overwritten"},
        {"path": "/gone", "size": 20, "layer": 1, "kind": "removed"},
        {"path": "/c", "size": 1, "layer": 0, "kind": "removed"},
    ] == hidden["files"]
    assert 51 == hidden["size"]
    (text,) = [notice["text"] for notice in made.report["notices"] if notice["code"] == "hidden"]
    assert "3 files (51 bytes)" in text and "/gone" in text


def test_a_delta_that_hides_nothing_says_nothing(ocitool: Run, old: Path, tmp_path: Path) -> None:
    new = put(tmp_path / "new", newer([*NEW[:2], timed(APP, NOW), layer_tar([("more", b"")])]))
    made = rebuilt(ocitool, new, old, "--plan", "delta")
    assert ({"size": 0, "files": []}, False) == (made.outcome["delta"]["hidden"], "hidden" in made.codes)


def test_a_delta_between_equal_file_systems_makes_no_layer(ocitool: Run, old: Path, tmp_path: Path) -> None:
    new = put(tmp_path / "new", newer([NEW[0], timed([*LIBS, *APP], NOW)]))
    made = rebuilt(ocitool, new, old, "--plan", "delta")
    assert digests(older(OLD)) == made.digests
    assert DELTA in [item.get("created_by") for item in made.config["history"] if item.get("empty_layer")]


def test_a_delta_ends_where_the_new_file_system_says_nothing_of_its_root(ocitool: Run, tmp_path: Path) -> None:
    """OLD's root is nobody else's to enter; NEW's is as every engine makes it."""
    old = put(tmp_path / "old", older([layer_tar([entry("./", None, mode=0o700, uid=7), ("a", b"")])]))
    new = put(tmp_path / "new", newer([layer_tar([("a", b""), ("b", b"")])]))
    made = rebuilt(ocitool, new, old, "--plan", "delta")
    assert (0o755, 0) == root_of(made.path)


def root_of(path: Path) -> tuple[int, int]:
    with Task() as task:
        found = single(open_source(str(path), "layers", task), None)
        tree = Tree([index_layer(layer.blob, task) for layer in found.layers if layer.blob is not None])
        entry = tree.entry(tree.root.ref)
    return entry.mode, entry.uid


def test_reuse_keeps_the_root_of_the_new_image(ocitool: Run, tmp_path: Path) -> None:
    old = put(tmp_path / "old", older([layer_tar([entry("./", None, mode=0o700), ("a", b"")])]))
    new = put(tmp_path / "new", newer([layer_tar([entry("./", None, mode=0o711), ("a", b"")])]))
    assert (0o711, 0) == root_of(rebuilt(ocitool, new, old, "--plan", "reuse").path)
    assert (0o711, 0) == root_of(rebuilt(ocitool, new, old, "--plan", "delta", to="delta").path)


def test_of_several_old_images_a_delta_stands_on_the_nearest(ocitool: Run, new: Path, old: Path, tmp_path: Path) -> None:
    far = put(tmp_path / "far", older([OLD[0]]))
    made = rebuilt(ocitool, new, [far, old], "--plan", "delta")
    assert (str(old), 4) == (made.outcome["delta"]["against"], len(made.digests))


def test_auto_never_makes_a_delta(ocitool: Run, tmp_path: Path) -> None:
    large = random_bytes(200_000)
    new = put(tmp_path / "new", newer([layer_tar([("large", large), ("small", b"new")])]))
    old = put(tmp_path / "old", older([layer_tar([("large", large), ("small", b"old")])]))
    made = rebuilt(ocitool, new, old)
    assert plans(made)["delta"] < 1000 < 200_000 < plans(made)["reuse"]
    assert ("as-is", None) == (made.outcome["plan"], made.outcome["delta"])


# What was taken out stays out

SECRET = b"hunter2-and-more-of-it"
HOLDING = [layer_tar([("bin/", None), ("bin/sh", BIN)]), layer_tar([("etc/", None), ("etc/token", SECRET), ("etc/a", b"a")])]


def edit(ocitool: Run, old: Path, to: Path, *words: str) -> Path:
    result = ocitool("edit", old, f"oci:{to}", *words)
    assert 0 == result.code, str(result)
    return to


EDITS = {
    "a file": ("--rm", "/etc/token"),
    "all but one": ("--rm", "/bin", "--rm", "/etc/token"),
    "a directory": ("--rm", "/etc"),
    "with settings": ("--rm", "/etc/token", "--env", "A=b", "--created", "@0"),
    "and another file comes": ("--rm", "/etc/token", "--add", "{host}:/etc/new"),
    "and another file comes to its layer": ("--rm", "/etc/token", "--add", "{host}:/etc/new", "--layer", "1"),
    "and one of its name comes": ("--rm", "/etc/token", "--add", "{host}:/etc/token"),
    "and the layer below goes": ("--rm", "/etc/token", "--drop-layer", "0"),
}


@pytest.mark.parametrize("words", EDITS.values(), ids=EDITS)
def test_a_delta_never_passes_on_what_an_edit_took_out(ocitool: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "host").write_bytes(b"harmless")
    old = put(tmp_path / "old", older([*HOLDING, layer_tar([("x", b"")])]))
    new = edit(ocitool, old, tmp_path / "new", *(word.format(host=tmp_path / "host") for word in words))
    result = ocitool("rebuild", new, f"oci:{tmp_path / 'made'}", "--against", old, "--plan", "delta")
    refused(2, result, "--plan reuse")
    assert not (tmp_path / "made").exists()


ALSO = {
    "nothing else": (),
    "and another file comes to its layer": ("--add", "{host}:/etc/new", "--layer", "1"),
    "and the layer below goes": ("--drop-layer", "0"),
}


@pytest.mark.parametrize("also", ALSO.values(), ids=ALSO)
def test_a_delta_never_passes_on_what_an_edit_took_out_of_an_image_without_history(
    ocitool: Run, tmp_path: Path, also: tuple[str, ...]
) -> None:
    (tmp_path / "host").write_bytes(b"harmless")
    old = put(tmp_path / "old", older(HOLDING, history=None))
    words = ("--rm", "/etc/token", *(word.format(host=tmp_path / "host") for word in also))
    new = edit(ocitool, old, tmp_path / "new", *words)
    result = ocitool("rebuild", new, f"oci:{tmp_path / 'made'}", "--against", old, "--plan", "delta")
    assert (2, False) == (result.code, (tmp_path / "made").exists()), str(result)


@pytest.mark.parametrize("plan", ["auto", "reuse"])
def test_no_ignored_path_brings_back_what_an_edit_took_out(ocitool: Run, tmp_path: Path, plan: str) -> None:
    old = put(tmp_path / "old", older(HOLDING))
    new = edit(ocitool, old, tmp_path / "new", "--rm", "/etc/token")
    made = rebuilt(ocitool, new, old, "--plan", plan, "--ignore-path", "etc/*")
    assert (False, True) == (b"etc/token" in made.tree, "removed" in made.codes)


def test_a_delta_never_passes_on_what_was_taken_out_before_a_squash(ocitool: Run, tmp_path: Path) -> None:
    """Of an image whose history does not align: there it was not said, and a squash gives it one that does."""
    old = put(tmp_path / "old", older(HOLDING, history=history(1, "2023-01-01T00:00:00Z")))
    edit(ocitool, old, tmp_path / "new", "--rm", "/etc/token")
    assert 0 == ocitool("squash", tmp_path / "new", f"oci:{tmp_path}/flat").code
    refuses(ocitool, 2, tmp_path / "flat", "--against", old, "--plan", "delta")


def test_images_that_were_both_cleaned_may_have_a_delta(ocitool: Run, tmp_path: Path) -> None:
    later = [HOLDING[0], layer_tar([("etc/", None), ("etc/a", b"b"), ("etc/token", b"other secret")])]
    cleaned = [
        edit(ocitool, put(tmp_path / name, make(tars)), tmp_path / f"clean-{name}", "--rm", "/etc/token")
        for name, make, tars in (("old", older, HOLDING), ("new", newer, later))
    ]
    made = rebuilt(ocitool, cleaned[1], cleaned[0], "--plan", "delta")
    assert ["/etc/a"] == [one["path"] for one in made.outcome["delta"]["hidden"]["files"]]


def test_reuse_leaves_behind_what_an_edit_took_out(ocitool: Run, tmp_path: Path) -> None:
    old = put(tmp_path / "old", older(HOLDING))
    new = edit(ocitool, old, tmp_path / "new", "--rm", "/etc/token")
    made = rebuilt(ocitool, new, old, "--plan", "reuse")
    assert [layer.digest for layer in opened(new)[0].layers] == [layer.digest for layer in made.image.layers]
    assert ["etc", "etc/a"] == made.names(1)


def test_what_a_build_no_longer_makes_is_no_edit(ocitool: Run, tmp_path: Path) -> None:
    """The same steps at another time, of which one makes a file less."""
    old = put(tmp_path / "old", image(HOLDING, history=history(2, "2023-01-01T00:00:00Z"), tag="old:1"))
    less = [HOLDING[0], layer_tar([("etc/", None), ("etc/a", b"a")])]
    new = put(tmp_path / "new", image(less, history=history(2, "2024-01-01T00:00:00Z"), tag="new:1"))
    made = rebuilt(ocitool, new, old, "--plan", "delta")
    assert ["/etc/token"] == [one["path"] for one in made.outcome["delta"]["hidden"]["files"]]


# Many deltas


def chained(steps: Sequence[str]) -> list[dict[str, Any]]:
    return [{"created": "2023-01-01T00:00:00Z", "created_by": step} for step in steps]


CHAINS = {
    "the first": (["RUN"], False),
    "the second": (["RUN", DELTA], False),
    "the third": (["RUN", DELTA, DELTA], True),
    "the fourth": (["RUN", DELTA, DELTA, DELTA], True),
    "not in a row": ([DELTA, "RUN", DELTA], False),
    "a layer above": (["RUN", DELTA, DELTA, "RUN"], False),
}


@pytest.mark.parametrize(("steps", "asks"), CHAINS.values(), ids=CHAINS)
def test_the_third_delta_in_a_row_asks_for_a_squash(ocitool: Run, tmp_path: Path, steps: Sequence[str], asks: bool) -> None:
    tars = [layer_tar([(f"file{n}", b"")]) for n in range(len(steps))]
    old = put(tmp_path / "old", older(tars, history=chained(steps)))
    new = put(tmp_path / "new", newer([layer_tar([("other", b"")])]))
    made = rebuilt(ocitool, new, old, "--plan", "delta")
    assert asks == ("chain" in made.codes)
    if asks:
        (text,) = [notice["text"] for notice in made.report["notices"] if notice["code"] == "chain"]
        assert "ocitool squash --from 1" in text


def test_a_chain_of_deltas_that_were_made_is_told_and_can_be_squashed_as_told(ocitool: Run, tmp_path: Path) -> None:
    last = put(tmp_path / "0", older([layer_tar([("f", b"0")])]))
    for n in range(1, 4):
        new = put(tmp_path / "new" / str(n), newer([layer_tar([("f", b"%d" % n)])]))
        made = rebuilt(ocitool, new, last, "--plan", "delta", to=f"made{n}")
        assert ((n == 3), n) == ("chain" in made.codes, made.outcome["delta"]["deltas"])
        last = made.path
    assert 0 == ocitool("squash", last, f"oci:{tmp_path / 'squashed'}", "--from", "1").code
    assert (2, b"3") == (len(opened(tmp_path / "squashed")[0].layers), ocitool("cat", tmp_path / "squashed", "/f").stdout)


def of_layers(place: Path, count: int) -> Path:
    return put(place, older([layer_tar([("f", b"%d" % n)]) for n in range(count)]))


def test_a_delta_beyond_125_layers_is_refused(ocitool: Run, new: Path, tmp_path: Path) -> None:
    old = of_layers(tmp_path / "old", 125)
    result = ocitool("rebuild", new, f"oci:{tmp_path / 'made'}", "--against", old, "--plan", "delta")
    refused(7, result, "125 layers")
    assert not (tmp_path / "made").exists()


def test_a_delta_of_125_layers_is_made(ocitool: Run, new: Path, tmp_path: Path) -> None:
    made = rebuilt(ocitool, new, of_layers(tmp_path / "old", 124), "--plan", "delta")
    assert 125 == len(made.digests)


def test_where_no_delta_fits_the_other_plans_are_compared(ocitool: Run, new: Path, tmp_path: Path) -> None:
    made = rebuilt(ocitool, new, of_layers(tmp_path / "old", 125))
    assert ("as-is", None) == (made.outcome["plan"], plans(made)["delta"])


# What each plan costs


def sizes(one: Image) -> list[int]:
    return [layer["size"] for layer in one.manifest["layers"]]


def test_plans_are_compared_by_the_bytes_that_somebody_lacks_who_has_old(ocitool: Run, new: Path, old: Path) -> None:
    wanted = newer(NEW)
    made = rebuilt(ocitool, new, old)
    assert (sum(sizes(wanted)), sizes(wanted)[2]) == (plans(made)["as-is"], plans(made)["reuse"])
    assert [False, False, True] == [plan["estimated"] for plan in made.outcome["plans"]]


def test_a_layer_that_old_has_costs_nothing_as_it_is(ocitool: Run, new: Path, tmp_path: Path) -> None:
    made = rebuilt(ocitool, new, put(tmp_path / "old", older([NEW[0], OLD[1]])))
    wanted = sizes(newer(NEW))
    assert (wanted[1] + wanted[2], wanted[2]) == (plans(made)["as-is"], plans(made)["reuse"])


def test_auto_keeps_the_image_as_it_is_where_nothing_is_saved(ocitool: Run, new: Path, tmp_path: Path) -> None:
    made = rebuilt(ocitool, new, put(tmp_path / "old", older(NEW[:1])))
    assert ("as-is", newer(NEW).digest) == (made.outcome["plan"], str(made.image.digest))


def test_as_is_writes_the_image_as_it_is_and_compares_all_the_same(ocitool: Run, new: Path, old: Path) -> None:
    made = rebuilt(ocitool, new, old, "--plan", "as-is")
    assert (newer(NEW).digest, ["equal", "equal", "changed"]) == (str(made.image.digest), hows(made))
    assert plans(made)["reuse"] < plans(made)["as-is"]


def test_what_a_delta_costs_is_the_size_of_its_layer_once_it_was_made(ocitool: Run, new: Path, old: Path) -> None:
    made = rebuilt(ocitool, new, old, "--plan", "delta")
    assert made.image.layers[3].size == plans(made)["delta"]
    assert [False] * 3 == [plan["estimated"] for plan in made.outcome["plans"]]


def test_the_three_plans_are_told_in_words(ocitool: Run, new: Path, old: Path, tmp_path: Path) -> None:
    result = ocitool("rebuild", new, f"oci:{tmp_path / 'made'}", "--against", old)
    assert 0 == result.code, str(result)
    assert all(word in result.out + result.err for word in ("as-is", "reuse", "delta", "2 equal but for times", "1 changed"))


# Configuration and history


def test_reuse_keeps_configuration_and_history_of_the_new_image(ocitool: Run, old: Path, tmp_path: Path) -> None:
    past = [{"created_by": "ENV", "empty_layer": True}, *history(3, "2024-01-01T00:00:00Z", "NEW")]
    settings = {"Env": ["A=b"], "User": "7", "Labels": {"c": "d"}}
    wanted = newer(NEW, config=pretty({**config_of(NEW), "history": past, "config": settings, "x-mine": 1}))
    made = rebuilt(ocitool, put(tmp_path / "new", wanted), old, "--plan", "reuse")
    before = dict(opened(tmp_path / "new")[0].config.fields)
    assert {**before, "rootfs": {"type": "layers", "diff_ids": [*map(sha256, OLD[:2]), sha256(NEW[2])]}} == made.config


def test_a_delta_has_the_settings_of_the_new_image_and_the_history_of_both(ocitool: Run, old: Path, tmp_path: Path) -> None:
    past = [{"created_by": "ENV", "empty_layer": True}, *history(3, "2024-01-01T00:00:00Z", "NEW")]
    config = {**config_of(NEW), "history": past, "config": {"Env": ["A=b"], "User": "7"}, "created": "2024-05-05T00:00:00Z"}
    made = rebuilt(ocitool, put(tmp_path / "new", newer(NEW, config=pretty(config))), old, "--plan", "delta")
    assert {"Env": ["A=b"], "User": "7"} == made.config["config"]
    assert [
        *history(3, "2023-01-01T00:00:00Z", "OLD"), {"created": "2024-05-05T00:00:00Z", "created_by": DELTA},
        *({**item, "empty_layer": True} for item in past),
    ] == made.config["history"]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), [(None, 3), (2, 3), (3, 3)])
def test_history_and_layers_align_in_a_delta_whatever_they_were(
    ocitool: Run, tmp_path: Path, before: int | None, after: int | None
) -> None:
    """None: the image states none; another number than 3: one that does not align."""
    old, new = (
        make(tars, history=None if count is None else history(count, when))
        for make, tars, count, when in (
            (older, OLD, before, "2023-01-01T00:00:00Z"), (newer, NEW, after, "2024-01-01T00:00:00Z"),
        )
    )  # fmt: skip
    made = rebuilt(ocitool, put(tmp_path / "new", new), put(tmp_path / "old", old), "--plan", "delta")
    assert 4 == len([item for item in made.config["history"] if not item.get("empty_layer")])


@pytest.mark.parametrize("kinds", [("docker", "oci"), ("oci", "docker"), ("docker", "docker")])
def test_a_delta_between_archives_aligns(ocitool: Run, tmp_path: Path, kinds: tuple[str, str]) -> None:
    write = {"docker": write_docker_archive, "oci": write_oci_archive}
    new = write[kinds[0]](tmp_path / "new.tar", [newer(NEW, codec="none")])
    old = write[kinds[1]](tmp_path / "old.tar", [older(OLD, codec="none")])
    made = rebuilt(ocitool, new, old, "--plan", "delta")
    assert [*map(sha256, OLD)] == made.config["rootfs"]["diff_ids"][:3]


@pytest.mark.parametrize("after", [None, 1])
def test_a_delta_is_refused_where_the_new_image_does_not_say_how_it_was_made(
    ocitool: Run, tmp_path: Path, after: int | None
) -> None:
    """It would pass on a file that may have been taken out."""
    new = put(tmp_path / "new", newer(NEW, history=None if after is None else history(after, "2024-01-01T00:00:00Z")))
    refuses(ocitool, 2, new, "--against", put(tmp_path / "old", older(OLD)), "--plan", "delta")


# How it is written


@pytest.mark.parametrize("plan", ["reuse", "delta"])
def test_two_runs_give_the_same_bytes(ocitool: Run, new: Path, tmp_path: Path, plan: str) -> None:
    old = write_docker_archive(tmp_path / "old.tar", [older(OLD, codec="none")])
    found = set()
    for n in range(2):
        words = ("--against", old, "--plan", plan, "--jobs", str(1 + 3 * n), "--no-cache")
        result = ocitool("rebuild", new, tmp_path / f"{n}.tar", *words, env={"SOURCE_DATE_EPOCH": None})
        assert 0 == result.code, str(result)
        found.add(sha256((tmp_path / f"{n}.tar").read_bytes()))
    assert 1 == len(found)


@pytest.mark.parametrize("plan", ["reuse", "delta"])
def test_a_dry_run_writes_nothing_and_tells_the_same(ocitool: Run, new: Path, old: Path, tmp_path: Path, plan: str) -> None:
    words = ("--against", str(old), "--plan", plan, "--format", "json")
    dry = report_of(ocitool("rebuild", new, f"oci:{tmp_path / 'made'}", *words, "--dry-run"))
    assert (True, ["new", "old"]) == (dry["dryRun"], sorted(path.name for path in tmp_path.iterdir()))
    wet = report_of(ocitool("rebuild", new, f"oci:{tmp_path / 'made'}", *words))
    assert wet["details"] == dry["details"]


def test_every_image_of_an_index_is_rebuilt_from_that_of_its_platform(ocitool: Run, tmp_path: Path) -> None:
    olds, news = [], []
    for number, platform in enumerate((AMD, ARM)):
        mark: list[AnyEntry] = [("platform", b"%d" % number)]
        how = {"platform": platform, "architecture": platform["architecture"], "tag": None}
        olds.append(older([*OLD[:2], timed(mark, THEN)], **how))
        news.append(newer([*NEW[:2], timed(mark, NOW)], **how))
    paths = [nested(tmp_path / name, images) for name, images in (("old", olds), ("new", news))]
    words = ("--against", paths[0], "--all-platforms", "--format", "json")
    report = report_of(ocitool("rebuild", paths[1], f"oci:{tmp_path / 'made'}", *words))
    assert [] == errors(tmp_path / "made")
    assert [digests(before) for before in olds] == [[layer["digest"] for layer in one["layers"]] for one in report["images"]]
    assert ["linux/amd64", "linux/arm64"] == [outcome["platform"] for outcome in report["details"]["rebuilt"]]


def nested(place: Path, images: Sequence[Image]) -> Path:
    """A layout whose one name is an index of these."""
    inner = pretty(index_of([one.descriptor for one in images]))
    top = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(inner), "size": len(inner)}
    files = layout_files(images, index=index_of([top]))
    return write_files(place, {**files, "blobs/" + sha256(inner).replace(":", "/"): inner})


# Bad input: a documented error, and no output


def refuses(ocitool: Run, code: int, new: Path | str, *words: str | Path) -> None:
    made = Path(new).parent / "made"
    result = ocitool("rebuild", new, f"oci:{made}", *words)
    refused(code, result, "ocitool: error: ")
    assert not made.exists()


def test_without_an_old_image_nothing_is_rebuilt(ocitool: Run, new: Path) -> None:
    refuses(ocitool, 2, new)


@pytest.mark.parametrize("also", [False, True])
@pytest.mark.parametrize("name", ["none.tar", "old:none"])
def test_an_old_image_that_is_not_there_is_not_found(
    ocitool: Run, new: Path, old: Path, tmp_path: Path, name: str, also: bool
) -> None:
    refuses(ocitool, 3, new, *(("--against", old) if also else ()), "--against", tmp_path / name)


@pytest.mark.parametrize("plan", ["auto", "delta"])
def test_old_images_none_of_which_is_there_are_not_found(ocitool: Run, new: Path, old: Path, plan: str) -> None:
    refuses(ocitool, 3, new, "--against", f"{old}:no", "--against", f"{old}:none", "--plan", plan)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("plan", ["auto", "delta"])
def test_an_old_image_without_the_platform_is_not_found(ocitool: Run, new: Path, tmp_path: Path, count: int, plan: str) -> None:
    other = {"os": "linux", "architecture": "s390x"}
    images = [older(OLD, platform=one, architecture=one["architecture"]) for one in (ARM, other)]
    old = nested(tmp_path / "old", images)
    refuses(ocitool, 3, new, *["--against", old] * count, "--plan", plan)


def test_of_several_old_images_those_with_the_platform_count(ocitool: Run, new: Path, old: Path, tmp_path: Path) -> None:
    other = {"os": "linux", "architecture": "s390x"}
    images = [older(OLD, platform=one, architecture=one["architecture"]) for one in (ARM, other)]
    made = rebuilt(ocitool, new, [nested(tmp_path / "arm", images), old])
    assert ([str(old)], digests(older(OLD))[:2]) == (made.outcome["against"], made.digests[:2])


@pytest.mark.parametrize("words", [("--plan", "best"), ("--platform", "linux/amd64", "--all-platforms")])
def test_words_that_mean_nothing_are_usage_errors(ocitool: Run, new: Path, old: Path, tmp_path: Path, words: Any) -> None:
    result = ocitool("rebuild", new, f"oci:{tmp_path / 'made'}", "--against", old, *words)
    assert (2, False) == (result.code, (tmp_path / "made").exists()), str(result)


def flipped(one: Image, layer: int) -> None:
    """Other bytes under the digest that is stated."""
    data = one.layers[layer]
    one.extra[sha256(data)] = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]


def cut(one: Image, layer: int) -> None:
    one.extra[sha256(one.layers[layer])] = one.layers[layer][:-30]


def misnamed(one: Image, layer: int) -> None:
    """Another diff_id than that of the layer."""
    named = [sha256(b"other") if n == layer else name for n, name in enumerate(diff_ids(one))]
    configured(one, named)


def diff_ids(one: Image) -> list[str]:
    found: list[str] = json.loads(one.config)["rootfs"]["diff_ids"]
    return found


def configured(one: Image, named: Sequence[str]) -> None:
    one.config = pretty({**json.loads(one.config), "rootfs": {"type": "layers", "diff_ids": list(named)}})
    one.manifest["config"].update(digest=sha256(one.config), size=len(one.config))


def typed(kind: str) -> Callable[[Image, int], None]:
    def change(one: Image, layer: int) -> None:
        one.manifest["layers"][layer]["mediaType"] = kind

    return change


def fewer(one: Image, layer: int) -> None:
    named = diff_ids(one)
    configured(one, [*named[:layer], *named[layer + 1 :]])


BAD: dict[str, tuple[int, Callable[[Image, int], None]]] = {
    "corrupt": (5, flipped),
    "cut": (5, cut),
    "another diff_id": (5, misnamed),
    "fewer diff_ids": (4, fewer),
    "unknown": (4, typed("application/x-unknown")),
    "encrypted": (4, typed("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")),
}


@pytest.mark.parametrize("plan", ["reuse", "delta"])
@pytest.mark.parametrize("which", ["NEW", "OLD"])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_layer_is_refused_in_either_image(ocitool: Run, tmp_path: Path, bad: str, which: str, plan: str) -> None:
    code, spoil = BAD[bad]
    wanted, before = newer(NEW), older(OLD)
    spoil(wanted if which == "NEW" else before, 1)
    new, old = put(tmp_path / "new", wanted), put(tmp_path / "old", before)
    refuses(ocitool, code, new, "--against", old, "--plan", plan)


@pytest.mark.parametrize("plan", ["reuse", "delta"])
def test_a_layer_that_went_bad_after_it_was_indexed_is_refused(
    ocitool: Run, new: Path, old: Path, tmp_path: Path, plan: str
) -> None:
    words = ("--against", str(old), "--plan", plan)
    assert 0 == ocitool("rebuild", new, f"oci:{tmp_path / 'first'}", *words).code  # which fills the cache
    path = old / "blobs" / digests(older(OLD))[1].replace(":", "/")
    data = path.read_bytes()
    path.write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
    refuses(ocitool, 5, new, *words)
    refuses(ocitool, 5, new, *words, "--verify")


def artifact() -> Image:
    made = image([], config=b"{}", tag="t")
    made.manifest["config"]["mediaType"] = "application/x-thing"
    return made


def attestation() -> Image:
    statement = b'{"_type":"https://in-toto.io/Statement/v0.1"}'
    made = image([statement], codec="none", tag="t", platform={"os": "unknown", "architecture": "unknown"}, os="unknown",
                 architecture="unknown")  # fmt: skip
    made.manifest["layers"][0]["mediaType"] = "application/vnd.in-toto+json"
    made.annotations = {"vnd.docker.reference.digest": sha256(b""), "vnd.docker.reference.type": "attestation-manifest"}
    return made


@pytest.mark.parametrize("which", ["NEW", "OLD"])
@pytest.mark.parametrize("make", [artifact, attestation])
def test_what_is_no_image_is_refused_in_either_place(ocitool: Run, tmp_path: Path, make: Any, which: str) -> None:
    wanted, before = (make(), older(OLD)) if which == "NEW" else (newer(NEW), make())
    new, old = put(tmp_path / "new", wanted), put(tmp_path / "old", before)
    refuses(ocitool, 2, f"{new}:{wanted.tag}", "--against", f"{old}:{before.tag}", "--plan", "reuse")


def test_a_hard_link_to_nothing_that_is_nowhere_to_be_said_is_no_obstacle(ocitool: Run, tmp_path: Path) -> None:
    """Reuse writes no layer, so that none of it is unsafe."""
    tar = layer_tar([("etc/", None), ("etc/link", "hard:etc/missing")])
    new = put(tmp_path / "new", newer([NEW[0], tar]))
    made = rebuilt(ocitool, new, put(tmp_path / "old", older([OLD[0]])), "--plan", "reuse", broken=True)
    assert [digests(older(OLD))[0], digests(newer([tar]))[0]] == made.digests


def test_a_delta_that_would_write_a_hard_link_to_nothing_is_refused(ocitool: Run, tmp_path: Path) -> None:
    tar = layer_tar([("etc/", None), ("etc/link", "hard:etc/missing")])
    new = put(tmp_path / "new", newer([NEW[0], tar]))
    refuses(ocitool, 6, new, "--against", put(tmp_path / "old", older([OLD[0]])), "--plan", "delta")


def test_help_shows_every_flag_and_examples(ocitool: Run) -> None:
    said = ocitool("rebuild", "--help").out
    for flag in ("against", "plan", "strict-times", "ignore-path", "dry-run", "all-platforms", "force", "tag"):
        assert f"--{flag}" in said
    assert "Examples:" in said
