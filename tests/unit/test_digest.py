"""Digests: the grammar, and bytes against what is stated of them."""

from __future__ import annotations

import hashlib

import pytest

from ocitool.digest import Digest, digest_of, hashed, verified
from ocitool.errors import FormatError, IntegrityError, UnsupportedError

A = "sha256:" + "a" * 64
HELLO = Digest.of(b"hello")


def test_a_sha256_digest_is_read() -> None:
    assert (("sha256", "a" * 64), A) == (Digest.parse(A), str(Digest.parse(A)))


def test_a_sha512_digest_is_legal() -> None:
    assert "sha512:" + "0" * 128 == str(Digest.parse("sha512:" + "0" * 128))


def test_an_unregistered_algorithm_is_named_but_not_checked() -> None:
    digest = Digest.parse("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8")
    with pytest.raises(UnsupportedError):
        digest.hasher()


@pytest.mark.parametrize(
    "text",
    [
        "", "sha256", "sha256:", ":" + "a" * 64, "a" * 64, A.upper(), "sha256:" + "A" * 64, "sha256:" + "a" * 63,
        "sha256:" + "a" * 65, "sha256:" + "g" * 64, "sha512:" + "a" * 64, "SHA256:" + "a" * 64, A + "\n", " " + A, A + " ",
        "sha256:../../etc/passwd", "../x:" + "a" * 64, "sha256:" + "../" * 21 + "a", "a/b:c", "x:a/b", "x:a.b", "x:..", ".:a",
        "..:a", "a..b:c", "+a:b", "a+:b", "x:a\0b", "x:é", "é:a", "x:" + "a" * 2000, "sha256:" + "１" * 64,
        None, 7, A.encode(), [A],
    ],
)  # fmt: skip
def test_anything_else_is_no_digest(text: object) -> None:
    with pytest.raises(FormatError):
        Digest.parse(text)


@pytest.mark.parametrize(
    "text", ["a:b", "a.b:c", "a_b:c", "a-b:c", "a+b:c", "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564", "x:=_-"]
)
def test_the_grammar_of_unregistered_digests(text: str) -> None:
    assert text == str(Digest.parse(text))


def test_a_digest_is_the_hash_of_the_bytes() -> None:
    assert hashlib.sha256(b"hello").digest() == bytes.fromhex(HELLO.encoded)
    assert hashlib.sha512(b"hello").hexdigest() == Digest.of(b"hello", "sha512").encoded


def test_verified_passes_the_chunks_on() -> None:
    assert [b"he", b"llo"] == list(verified([b"he", b"llo"], HELLO, 5))


def test_verified_of_nothing_stated_passes_anything() -> None:
    assert [b"x"] == list(verified([b"x"], None, None))


@pytest.mark.parametrize("content", [b"hellp", b"", b"hell", b"hello!", b"HELLO"])
@pytest.mark.parametrize("size", [5, None])
def test_verified_refuses_other_bytes(content: bytes, size: int | None) -> None:
    with pytest.raises(IntegrityError):
        list(verified([content], HELLO, size))


def test_verified_refuses_a_wrong_size_alone() -> None:
    for size in (4, 6):
        with pytest.raises(IntegrityError):
            list(verified([b"hello"], None, size))


def test_verified_stops_at_the_stated_size() -> None:
    taken: list[bytes] = []

    def endless() -> object:
        while True:
            taken.append(b"x" * 10)
            yield taken[-1]

    with pytest.raises(IntegrityError):
        list(verified(endless(), None, 25))  # type: ignore[arg-type]
    assert len(taken) == 3


def test_hashed_chunks_pass_and_each_hasher_has_all_of_them() -> None:
    one, other = hashlib.sha256(), hashlib.sha512()
    assert [b"a", b"", b"bc"] == list(hashed([b"a", b"", b"bc"], one, other))
    assert (hashlib.sha256(b"abc").digest(), hashlib.sha512(b"abc").digest()) == (one.digest(), other.digest())


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_digest_of_chunks_is_that_of_their_bytes(algorithm: str) -> None:
    assert Digest(algorithm, hashlib.new(algorithm, b"abc").hexdigest()) == digest_of([b"a", b"bc"], algorithm)
