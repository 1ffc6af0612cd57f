"""Parts of `edit`: how additions are spelled, and where a configuration mentions a path."""

from __future__ import annotations

from typing import Any

import pytest

from ocitool.errors import UsageError
from ocitool.operations.edit.content_edits import mentions
from ocitool.operations.edit.file_addition import FileAddition, parse_addition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:/b", ("a", b"b")),
        ("a:b/c", ("a", b"b/c")),
        ("/x/a:/b/", ("/x/a", b"b/a")),
        ("x/a:/", ("x/a", b"a")),
        ("x/:/", ("x/", b"x")),
        ("a:b:/c", ("a:b", b"c")),
        ("a:/b:c", ("a", b"b:c")),
        ("a:/../b", None),
        ("a:/.wh.b", None),
        ("a", None),
        (":/b", None),
    ],
)
def test_an_addition_is_cut_at_the_last_colon_before_a_path(text: str, expected: tuple[str, bytes] | None) -> None:
    if expected is None:
        with pytest.raises(UsageError):
            parse_addition(text)
    else:
        assert FileAddition(*expected) == parse_addition(text)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"history": [{"created_by": "COPY x /etc/token"}]}, ["history[0] mentions /etc/token"]),
        ({"history": [{"created_by": "x/etc/tokens mytoken etc/token-a"}]}, []),
        ({"history": [{"comment": "the token file"}]}, ["history[0] mentions /etc/token"]),
        ({"history": [{"created_by": "tokens my-token token.txt _token token-ring"}]}, []),
        ({"history": [{"created_by": "rm token; x token.", "comment": "token"}]}, ["history[0] mentions /etc/token"]),
        ({"config": {"Env": ["A=x:/etc/token:y", "B=1"]}}, ["config.Env (A) mentions /etc/token"]),
        ({"config": {"Labels": {"token": "1"}, "Cmd": ["cat", "/etc/token"]}},
         ["config.Labels mentions /etc/token", "config.Cmd mentions /etc/token"]),
        ({"config": {"Volumes": {"/etc/token": {}}, "x": 7}}, ["config.Volumes mentions /etc/token"]),
        ({"config": [], "history": {}}, []),
        ({"history": [7, {"created_by": 7}]}, []),
    ],
)  # fmt: skip
def test_where_a_configuration_speaks_of_a_path_or_its_last_name(fields: dict[str, Any], expected: list[str]) -> None:
    assert expected == mentions(fields, [b"etc/token"])
