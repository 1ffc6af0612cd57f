"""Images that try to write outside of the root, as root and as an ordinary user: nothing around the destination changes, and
each is either unpacked inside the root as the specification says, or refused with exit code 6 (4: a broken tar)."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.disk import NOBODY, fingerprint, on_disk, open_to_all
from support.images import image, layer_tar, write_docker_archive
from support.layers import END, head, long, member, pax

from ocitool.errors import OcitoolError

# Each: the layers, then what stands in the root afterwards (path -> content, link target or kind), or the exit code.

Attack = tuple[Sequence[bytes], dict[str, Any] | int]


def tar(*items: Any) -> bytes:
    return layer_tar(items)


def raw(*members: bytes) -> bytes:
    return b"".join(members) + END


OUT = "../canary"
DIR = "directory"
DEEP = "/".join(["d"] * 60)

ATTACKS: dict[str, Attack] = {
    # Names
    "absolute name": ([raw(member(b"/canary/file", b"x"))], {"canary": DIR, "canary/file": b"x"}),
    "many slashes": ([raw(member(b"//..//canary", b"x"))], 6),
    "dotdot name": ([raw(member(b"../canary/file", b"x"))], 6),
    "dotdot name, absolute": ([raw(member(b"/../canary/file", b"x"))], 6),
    "dotdot after a directory": ([raw(member(b"a/../../canary/file", b"x"))], 6),
    "dotdot inside": ([raw(member(b"a/../b", b"x"))], {"b": b"x"}),
    "dotdot as the whole name": ([raw(head(b"..", b"5"))], 6),
    "dotdot by pax": ([raw(pax((b"path", b"../canary/file")), member(b"a", b"x"))], 6),
    "dotdot by GNU long name": ([raw(long(b"L", b"a/" * 60 + b"../" * 61 + b"canary/file"), member(b"a", b"x"))], 6),
    "dotdot by prefix": ([raw(member(b"canary/file", b"x", prefix=b".."))], 6),
    "dot names": ([raw(head(b".", b"5"), member(b"./././a", b"x"))], {"a": b"x"}),
    "no name, a file": ([raw(member(b"./", b"x"))], 4),
    "no name, a link": ([raw(head(b"/", b"2", link=b"/etc"))], 6),
    "root as a link": ([raw(head(b"./", b"2", link=b"../canary")), tar(("file", b"x"))], 6),
    "root as a hard link": ([raw(head(b".", b"1", link=b"a"))], 6),
    "backslashes": ([raw(member(b"..\\canary\\file", b"x"))], {"..\\canary\\file": b"x"}),
    "names with line ends": ([raw(member(b"a\n../b", b"x"))], {"a\n..": DIR, "a\n../b": b"x"}),
    # Links on the way
    "link up, then a file through it": (
        [tar(("l", f"link:{OUT}"), ("l/file", b"x"))], {"l": DIR, "l/file": b"x"},
    ),
    "link up to what is a directory inside too": (
        [tar(("canary/", None), ("l", f"link:{OUT}"), ("l/file", b"x"))],
        {"canary": DIR, "l": f"->{OUT}", "canary/file": b"x"},
    ),
    "absolute link, then a file through it": ([tar(("l", "link:/tmp"), ("l/file", b"x"))], {"l": DIR, "l/file": b"x"}),
    "link of another layer": (
        [tar(("l", f"link:{OUT}")), tar(("l/file", b"x"))], {"l": DIR, "l/file": b"x"},
    ),
    "link to the root, then a file through it": (
        [tar(("l", "link:/")), tar(("l/file", b"x"))], {"l": "->/", "file": b"x"},
    ),
    "link up to the root, then a file through it": (
        [tar(("l", "link:../../..")), tar(("l/file", b"x"))], {"l": "->../../..", "file": b"x"},
    ),
    "chain of links": (
        [tar(("a", "link:b"), ("b", "link:c"), ("c", f"link:{OUT}")), tar(("a/file", b"x"))],
        {"a": DIR, "a/file": b"x", "b": "->c", "c": f"->{OUT}"},
    ),
    "chain of links step by step up": (
        [tar(("d/", None), ("d/up", "link:.."), ("d/up2", "link:up/.."), ("d/up3", "link:up2/../canary")),
         tar(("d/up2/file", b"x"), ("d/up3/file", b"x"))],
        {"d": DIR, "d/up": "->..", "d/up2": "->up/..", "d/up3": DIR, "d/up3/file": b"x", "file": b"x"},
    ),
    "loop of links": (
        [tar(("a", "link:b"), ("b", "link:a")), tar(("a/file", b"x"))], {"a": DIR, "a/file": b"x", "b": "->a"},
    ),
    "link to itself": ([tar(("a", "link:a"), ("a/file", b"x"))], {"a": DIR, "a/file": b"x"}),
    "parent becomes a link in its own layer": (
        [tar(("d/", None), ("d/a", b"1"), ("d", f"link:{OUT}"), ("d/file", b"x"))], {"d": DIR, "d/file": b"x"},
    ),
    "parent becomes a link in an upper layer": (
        [tar(("d/", None), ("d/a", b"1")), tar(("d", f"link:{OUT}")), tar(("d/file", b"x"))], {"d": DIR, "d/file": b"x"},
    ),
    "directory over a link": (
        [tar(("l", f"link:{OUT}")), tar(("l/", None), ("l/file", b"x"))], {"l": DIR, "l/file": b"x"},
    ),
    "file over a link": ([tar(("l", "link:../canary/file")), tar(("l", b"x"))], {"l": b"x"}),
    "file over a link, in one layer": ([tar(("l", "link:../canary/file"), ("l", b"x"))], {"l": b"x"}),
    "device over a link": (
        [tar(("l", "link:../canary/file")), raw(head(b"l", b"6", mode=0o600))], {"l": "fifo"},
    ),
    "directory attributes through a link": (
        [tar(("l", f"link:{OUT}")), raw(head(b"l/", b"5", mode=0o777, mtime=5))], {"l": DIR},
    ),
    "link and content in one name": ([raw(head(b"l", b"2", 512, link=b"../canary/file"), b"x" * 512)], 4),
    "link to the kernel's own": ([tar(("l", "link:/proc/self/root/tmp"), ("l/file", b"x"))], {"l": DIR, "l/file": b"x"}),
    # Hard links
    "hard link up": ([tar(("h", "hard:../canary/file"))], 6),
    "hard link, absolute": ([raw(head(b"h", b"1", link=b"/etc/passwd"))], 6),
    "hard link to nothing": ([tar(("h", "hard:nothing"))], 6),
    "hard link through a link": (
        [tar(("l", f"link:{OUT}"), ("h", "hard:l/file"))], 6,
    ),
    "hard link through a link of another layer": (
        [tar(("l", f"link:{OUT}")), tar(("h", "hard:l/file"), ("h2", "hard:h"))], 6,
    ),
    "hard link to a link, then written through": (
        [tar(("l", "link:../canary/file"), ("h", "hard:l")), tar(("h", b"x"))], {"h": b"x", "l": "->../canary/file"},
    ),
    "hard link to a link to a directory, then written through": (
        [tar(("l", f"link:{OUT}"), ("h", "hard:l")), tar(("h/file", b"x"))],
        {"h": DIR, "h/file": b"x", "l": f"->{OUT}"},
    ),
    "hard link to a hard link to a link": (
        [tar(("l", "link:../canary/file"), ("h", "hard:l"), ("i", "hard:h"), ("j", "hard:i"))],
        dict.fromkeys("hijl", "->../canary/file"),
    ),
    "hard link to a directory": ([tar(("d/", None), ("h", "hard:d"))], 6),
    "hard link to the root": ([tar(("h", "hard:."))], 6),
    "hard link to itself": ([tar(("h", "hard:h"))], 6),
    "hard links in a circle": ([tar(("a", "hard:b"), ("b", "hard:a"))], 6),
    "hard link, its target replaced by a link": (
        [tar(("a", b"1"), ("h", "hard:a"), ("a", "link:../canary/file"))], {"a": "->../canary/file", "h": b"1"},
    ),
    # Whiteouts
    "whiteout of dotdot": ([tar(("a", b"1")), tar((".wh...", b""))], 6),
    "whiteout of dot": ([tar(("a", b"1")), tar((".wh..", b""))], 6),
    "whiteout of nothing": ([tar(("a", b"1")), tar((".wh.", b""))], 6),
    "whiteout outside": ([tar(("a", b"1")), raw(member(b"../.wh.canary"))], 6),
    "opaque outside": ([tar(("a", b"1")), raw(member(b"../canary/.wh..wh..opq"))], 6),
    "whiteout through a link": (
        [tar(("l", f"link:{OUT}")), tar(("l/.wh.file", b""))], {"l": f"->{OUT}"},
    ),
    "opaque through a link": ([tar(("l", f"link:{OUT}")), tar(("l/.wh..wh..opq", b""))], {"l": f"->{OUT}"}),
    "whiteout that is a link": ([tar(("a", b"1")), tar((".wh.a", f"link:{OUT}"))], {}),
    "whiteout that is a directory": ([tar(("a", b"1"), ("b", b"1")), tar((".wh.a/", None))], {"b": b"1"}),
    "AUFS bookkeeping with a link": (
        [tar((".wh..wh.plnk/", None), (".wh..wh.plnk/1.2", b"x"), ("h", "hard:.wh..wh.plnk/1.2"))], {"h": b"x"},
    ),
    "whiteout of a whiteout": ([tar(("a", b"1")), tar((".wh..wh.a", b""))], {"a": b"1"}),
    # Depth
    "deep, then up": (
        [raw(pax((b"path", DEEP.encode() + b"/.." * 61 + b"/canary/file")), member(b"a", b"x"))], 6,
    ),
}  # fmt: skip


def shape(root: Path) -> dict[str, Any]:
    """The root's inside in the words of the table."""
    found: dict[str, Any] = {}
    for path, fields in on_disk(root).items():
        if path:
            kind = fields["kind"]
            target = fields["target"]
            found[os.fsdecode(path)] = fields["content"] if kind == "file" else "->" + os.fsdecode(target) if target else kind
    return found


def surroundings(place: Path) -> None:
    """A canary where the links of the table lead, at every level that a wrong root might be."""
    for where in (place, place / "work"):
        (where / "canary").mkdir(parents=True)
        (where / "canary/file").write_bytes(b"alive")
        (where / "canary/file").chmod(0o666)
        (where / "canary").chmod(0o777)
    (place / "work").chmod(0o777)


@pytest.fixture(scope="module", autouse=True)
def loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Everything that an unpacking imports, since an ordinary user may not be allowed to read it."""
    place = tmp_path_factory.mktemp("loaded")
    layers = [tar(("a", b"1")), tar((".wh.a", b""))]
    for number, codec in enumerate(("gzip", "zstd")):
        archive = write_docker_archive(place / f"{number}.tar", [image(layers, codec=codec, tag="x:1")])
        assert _main(["unpack", "--quiet", str(archive), str(place / f"root{number}")]) == (0, "")


@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_around_the_root_changes(name: str, user: str, need: Any) -> None:
    need("root")
    layers, expected = ATTACKS[name]
    with open_to_all() as place:
        surroundings(place)
        archive = write_docker_archive(place / "image.tar", [image(layers, codec="none", tag="x:1")])
        before = fingerprint(place / "canary") | fingerprint(place / "work/canary")
        code, err = run_as(user, "unpack", "--as", "rootfs", "--quiet", str(archive), str(place / "work/root"))
        assert before == fingerprint(place / "canary") | fingerprint(place / "work/canary")
        if isinstance(expected, int):
            assert (expected, ["canary"]) == (code, os.listdir(place / "work")), err
        else:
            assert 0 == code, err
            assert expected == shape(place / "work/root")
            assert ["canary", "root"] == sorted(os.listdir(place / "work"))


def run_as(user: str, *words: str) -> tuple[int, str]:
    """The command as another user, who may not be allowed to read the code: it is loaded before the user changes."""
    report, target = os.pipe()
    child = os.fork()
    if child == 0:
        code, text = 70, ""
        try:
            os.close(report)
            if user != "root":
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            code, text = _main(words)
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        with os.fdopen(target, "wb") as pipe:
            pickle.dump((code, text), pipe)
        os._exit(0)
    os.close(target)
    with os.fdopen(report, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(data)  # type: ignore[no-any-return]


def _main(words: Sequence[str]) -> tuple[int, str]:
    from ocitool.cli import app
    from ocitool.cli import unpack as _loaded  # noqa: F401

    try:
        app(list(words), standalone_mode=False)
    except OcitoolError as error:
        return error.exit_code, str(error)
    return 0, ""


def test_the_canary_can_die(tmp_path: Path) -> None:
    surroundings(tmp_path)
    before = fingerprint(tmp_path / "canary")
    (tmp_path / "canary/file").chmod(0o600)
    assert before != fingerprint(tmp_path / "canary")
