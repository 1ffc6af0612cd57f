"""Facts that are tables in code: nothing outside of a table asks for one of its names, and each checker is shown to fail."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ocitool.cli import options, shared
from ocitool.images.config_edits import SETTINGS, Settings
from ocitool.layers import codecs
from ocitool.reference import TRANSPORTS

SOURCES = Path(__file__).parents[2] / "ocitool"
NAMES = {one.name for one in TRANSPORTS} | set(codecs.CODECS)
EXCEPTIONS = {
    "disk/snapshot.py": "a snapshot is zstd by its own definition",
    "transports/registry/error_bodies.py": "encodings of HTTP, of which gzip has a synonym",
    "dedupe/layers.py": "the advice `zstd` is about gzip layers",
}


def compared(source: str) -> Iterator[tuple[int, str]]:
    """Line and name, for each comparison with the name of a transport or codec."""
    for node in ast.walk(ast.parse(source)):
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        for side in sides:
            for part in side.elts if isinstance(side, ast.Tuple | ast.Set | ast.List) else [side]:
                if isinstance(part, ast.Constant) and part.value in NAMES:
                    yield part.lineno, str(part.value)


def test_code_asks_for_a_property_of_a_transport_or_codec_and_never_for_its_name() -> None:
    found = {str(path.relative_to(SOURCES)): list(compared(path.read_text())) for path in SOURCES.rglob("*.py")}
    assert sorted(EXCEPTIONS) == sorted(name for name, lines in found.items() if lines), found


@pytest.mark.parametrize(
    "source", ['site.transport == "oci"', 'kind in ("docker", "dir")', 'codec != "zstd"', '"gzip" == codec', 'codec in {"xz"}']
)
def test_a_question_for_a_name_is_found(source: str) -> None:
    assert list(compared(source))


def test_a_question_for_a_property_is_none() -> None:
    assert not list(compared('site.transport.store and codec in codecs.WRITERS and kind == "image"'))


def listed(source: str) -> Iterator[str]:
    """Options that a function of the source has as parameters although `with_shared` gives them to commands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            for one in (*node.args.args, *node.args.kwonlyargs):
                if ast.unparse(one.annotation or ast.Constant(None)) in SHARED:
                    yield f"{node.name}({one.arg})"


SHARED = {f"options.{name}" for name, made in vars(options).items() if any(made is one for _, one, _ in shared._ALL.values())}


def test_a_command_lists_no_option_that_the_decorator_adds() -> None:
    assert [] == [one for path in (SOURCES / "cli").glob("*.py") for one in listed(path.read_text())]


def test_a_listed_option_is_found() -> None:
    assert ["command(tag)"] == list(listed("def command(src: options.Src, tag: options.Tag = None) -> None: ..."))


def test_each_setting_of_a_configuration_is_in_the_table_once() -> None:
    assert list(Settings._fields) == [one.field for one in SETTINGS]


ONE_PLACE = {
    r'NotFoundError\(\s*f?"the [^"]* is not here"': "blob.py",
    r'"/" \+ [a-z_.]+(\[[^]]*\])?\.decode\("utf-8", "(replace|backslashreplace)"\)': "layers/entry.py",
    r'IntegrityError\(\s*f"unpacks to ': "digest.py",
}
"""What one function says for all: a missing blob (`missing_blob`), a path in a message (`shown_path`), a layer with another
diff_id than is stated (`wrong_diff_id`)."""


def places(expression: str, sources: Mapping[str, str]) -> list[str]:
    return [name for name, text in sources.items() if re.search(expression, text)]


@pytest.mark.parametrize(("expression", "home"), ONE_PLACE.items())
def test_what_one_function_says_is_said_nowhere_else(expression: str, home: str) -> None:
    assert [home] == places(expression, {str(path.relative_to(SOURCES)): path.read_text() for path in SOURCES.rglob("*.py")})


def test_a_second_wording_and_a_second_helper_are_found() -> None:
    wording, helper, other_bytes = ONE_PLACE
    assert ["a"] == places(wording, {"a": 'raise NotFoundError(f"the layer {digest} is not here", where)'})
    assert ["a"] == places(helper, {"a": 'return "/" + path[:9].decode("utf-8", "replace")'})
    assert ["a"] == places(other_bytes, {"a": 'raise IntegrityError(f"unpacks to {found}, the image states {diff_id}")'})
