"""What is found in contents of files: for any bytes an answer, in little time, and never a secret in it."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocitool.comparison import accounts, notable_contents, package_sources
from ocitool.comparison.notable_rules import RULES
from ocitool.comparison.result import NotableFact

FIELDS = [b"root", b"app", b"x", b"", b"0", b"00", b"$6$hunter2", b"!", b"*", b"/bin/sh", b"/sbin/nologin", b"\xff"]
LINES = st.lists(st.sampled_from(FIELDS), max_size=9).map(b":".join)
LISTS = st.lists(st.one_of(LINES, st.binary(max_size=12)), max_size=6).map(b"\n".join)


@settings(max_examples=150)
@given(st.one_of(st.none(), LISTS), LISTS)
def test_lists_of_accounts_give_names_and_never_passwords(before: bytes | None, after: bytes) -> None:
    for judge in (accounts.passwd, accounts.shadow, accounts.group):
        for fact in judge(before, after) or ():
            assert fact.rule in RULES
            assert "hunter2" not in "".join(part for part in fact.said if part != "$6$hunter2")  # it may be a name
        assert not judge(after, after)


@settings(max_examples=150)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_sources_that_name_known_hosts_are_no_news(before: bytes, after: bytes) -> None:
    known = package_sources.hosts(after)
    found: tuple[NotableFact, ...] = package_sources.changed(before, after, known) or ()
    assert all(fact.severity == "info" or "check" in fact.said[0] for fact in found)


SLOW = {
    "headers of keys": b"-----BEGIN PRIVATE KEY-----\n" * 9_000,
    "fields of keys": b"-----BEGIN PRIVATE KEY-----\n" + b"A: -----BEGIN PRIVATE KEY-----\n" * 8_000,
    "certificates": b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n" * 4_000 + b"!",
    "lines before a certificate": b"a\n" * 100_000 + b"-----BEGIN CERTIFICATE-----\n",
    "spaces": b" " * 250_000,
    "a line of a setting": b"a " * 120_000 + b"\n-",
    "options of a source": b"deb [" * 50_000,
    "empty lines of a source": b"\n" * 250_000,
    "addresses": b"http://" * 36_000,
    "an address": b"http://" + b"a@" * 120_000,
    "colons": b":" * 250_000,
}


@pytest.mark.parametrize("case", SLOW)
def test_time_grows_with_the_length_of_a_file(case: str) -> None:
    data = SLOW[case]
    start = time.process_time()
    notable_contents._key(data)
    notable_contents._token(data)
    notable_contents._is_harmless(b"app/.env", data)
    package_sources.changed(data, data + b"x", set())
    for judge in (accounts.passwd, accounts.shadow, accounts.group):
        judge(data, data)
    assert time.process_time() - start < 2
    assert re.fullmatch(r"|holds an? .*", notable_contents._key(data))
