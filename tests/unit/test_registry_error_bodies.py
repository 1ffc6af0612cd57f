"""What a registry says in a refusal, whatever form its answer has, and what is said to the user beside it."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Callable

import pytest
import zstandard as zstd

from ocitool import credentials, limits
from ocitool.transports.registry.error_bodies import parse_error_body
from ocitool.transports.registry.errors import ErrorResponse, error_for


def errors(*them: object) -> bytes:
    return json.dumps({"errors": them}).encode()


FORMS: dict[str, tuple[str, bytes, str]] = {
    "distribution": ("denied by rule", errors({"code": "DENIED", "message": "denied by rule"}), ""),
    "detail as text": ("no; see log 7", errors({"code": "UNKNOWN", "message": "no", "detail": "see log 7"}), ""),
    "detail as an object": ('no; {"Tag": "1"}', errors({"code": "UNKNOWN", "message": "no", "detail": {"Tag": "1"}}), ""),
    "detail as a list": ('no; {"Type": "r"}', errors({"code": "UNKNOWN", "message": "no", "detail": [{"Type": "r"}]}), ""),
    "detail with a message": ("no; why", errors({"message": "no", "detail": {"message": "why"}}), ""),
    "detail that says the same": ("too many pulls", errors({"message": "too many pulls", "detail": "too many"}), ""),
    "a code alone": ("TOOMANYREQUESTS", errors({"code": "TOOMANYREQUESTS", "message": ""}), ""),
    "several": ("one; two", errors({"message": "one"}, {"message": "two"}), ""),
    "artifactory": ("blocked by Xray", b'{"errors":[{"status":403,"message":"blocked by Xray"}]}', ""),
    "errors as texts": ("one; two", b'{"errors":["one","two"]}', ""),
    "errors as a text": ("broken", b'{"errors":"broken"}', ""),
    "errors by field": ('{"name": ["bad"]}', b'{"errors":{"name":["bad"]}}', ""),
    "docker hub": ("incorrect username or password", b'{"details":"incorrect username or password"}', ""),
    "oauth": ("token has expired; invalid_grant", b'{"error":"invalid_grant","error_description":"token has expired"}', ""),
    "gitlab": ("access forbidden", b'{"errors":[{"code":"DENIED","message":"access forbidden"}],"http_status":401}', ""),
    "google": ("Permission denied", b'{"error":{"code":403,"message":"Permission denied"}}', ""),
    "aws": ("no such thing", b'{"__type":"X","Message":"no such thing"}', ""),
    "problem+json": ("Forbidden; over the plan", b'{"title":"Forbidden","detail":"over the plan"}', "application/problem+json"),
    "nothing that is known": ('{"status": 403}', b'{"status":403}', ""),
    "a JSON text": ("no", b'"no"', ""),
    "text/plain": ("wait a while", b"wait\r\n  a while\n", "text/plain; charset=utf-8"),
    "latin-1": ("größer", "größer".encode("latin-1"), "text/plain"),
    "an HTML title": ("413 Entity & Co", b"<html><title>413 Entity\n&amp; Co</title><h1>no</h1>", "text/html"),
    "an HTML heading": ("400 Cookie Too Large", b"<h1>400 Cookie Too Large</h1>", "text/html"),
    "HTML without either": ("go away", b"<script>x()</script><p>go <b>away</b></p>", "text/html"),
    "an S3 error": ("expired", b"<?xml version='1.0'?><Error><Message>expired</Message><Key>x</Key></Error>", ""),
    "a signed address": ("see https://s3.example/a ok", b"see https://s3.example/a?X-Amz-Signature=5igned ok", "text/plain"),
    "escapes": ("a [31mb", b"a\x1b[31mb", "text/plain"),
    "numbers": ("quota; 7", errors({"code": "DENIED", "message": "quota", "detail": 7}), ""),
    "what a later one says in full": ("it is read-only", b'{"message":"read-only","detail":"it is read-only"}', ""),
    "a login in an address": ("Get https://up.example/v2/ no", b"Get https://bob:pa55@up.example/v2/ no", "text/plain"),
    "a token behind an address": ("see https://a.example/b", b"see https://a.example/b#access_token=x", "text/plain"),
    "an anchor": ("see https://a.example/b#limits", b"see https://a.example/b#limits", "text/plain"),
    "a character that is cut off": ("größe", "größeß".encode()[:-1], "text/plain"),
    "no text": ("", b"\0\1\2", ""),
    "nothing": ("", b"", ""),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_words_of_an_answer_are_found_in_every_form(form: str) -> None:
    expected, body, content_type = FORMS[form]
    assert expected == parse_error_body(body, content_type).message


@pytest.mark.parametrize(("packed", "encoding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate"), (zstd.compress, "zstd")])
def test_the_words_of_an_answer_that_is_compressed_unasked_are_found(packed: Callable[[bytes], bytes], encoding: str) -> None:
    assert "why" == parse_error_body(packed(errors({"message": "why"})), "", encoding).message
    assert 500 == len(parse_error_body(packed(b"a" * (8 << 20)), "", encoding).message)


def test_what_is_not_compressed_as_is_said_is_taken_as_it_is_and_what_cannot_be_undone_says_nothing() -> None:
    assert "no gzip" == parse_error_body(b"no gzip", "", "gzip").message
    assert "" == parse_error_body(b"\x0b\x08\x80abcdefgh\xfe\x03", "", "br").message


def test_credentials_in_the_words_are_replaced_before_they_are_cut() -> None:
    credentials.remember("s3cret-w0rd-of-mine")
    try:
        said = parse_error_body(b"a" * 490 + b" s3cret-w0rd-of-mine", "text/plain").message
        assert 495 >= len(said) and "s3c" not in said
    finally:
        credentials.forget()


BODIES = [b"<title>", b"<script>", b"<", b"http://", b"[", b'{"errors":[', b'<message a="', b"?", b"\x1b"]


@pytest.mark.parametrize("body", BODIES)
def test_words_are_found_in_time_that_grows_with_the_body_whatever_it_is(body: bytes) -> None:
    began = time.process_time()
    parse_error_body((body * limits.ERROR_SIZE)[: limits.ERROR_SIZE], "text/html")
    assert time.process_time() - began < 2


HINTS: dict[str, tuple[str, ErrorResponse]] = {
    "login": ("ocitool login h ", ErrorResponse(401)),
    "another login": (
        "ocitool login h ",
        ErrorResponse(403, errors({"code": "DENIED", "message": "denied"}), has_credentials=True),
    ),
    "a policy": ("a policy of the registry", ErrorResponse(403, errors({"message": "blocked by the policy of the project"}))),
    "a scanner": ("a policy of the registry", ErrorResponse(403, errors({"message": "image has critical vulnerabilities"}))),
    "an immutable tag": (
        "a policy of the registry",
        ErrorResponse(403, errors({"message": "tag is immutable"}), has_credentials=True),
    ),
    "a firewall": ("a proxy or firewall", ErrorResponse(403, b"<title>Attention Required!</title>", "text/html")),
    "a rule at another status": (
        "a policy of the registry",
        ErrorResponse(412, errors({"message": "configured as immutable"})),
    ),
    "a repository's name": ("ocitool login h ", ErrorResponse(403, errors({"message": "no pull", "detail": {"a": "scan"}}))),
    "a path": ("ocitool login h ", ErrorResponse(403, errors({"message": "no access to ops/scanner"}), has_credentials=True)),
    "a page about a rule": ("a proxy or firewall", ErrorResponse(403, b"<title>blocked by policy</title>", "text/html")),
    "storage": (
        "s3.example sent this response",
        ErrorResponse(403, b"<Error><Message>expired</Message></Error>", redirected_to="s3.example"),
    ),
    "a page in the place of an answer": ("an HTML page", ErrorResponse(200, b"<title>Sign in</title>", "text/html")),
    "too large": ("smaller chunks", ErrorResponse(413)),
    "the proxy": ("NO_PROXY", ErrorResponse(407)),
    "too many": ("ocitool login h", ErrorResponse(429)),
    "too many of a user's": ("--jobs 1", ErrorResponse(429, has_credentials=True)),
    "too many one by one": ("the registry limits the rate of requests", ErrorResponse(429, has_credentials=True, jobs=1)),
}


@pytest.mark.parametrize("case", HINTS)
def test_a_hint_fits_the_refusal(case: str) -> None:
    expected, answer = HINTS[case]
    hint = error_for(answer, "tag", "h/app:1", "h").hint or ""
    assert expected in hint
    assert ("ocitool login" in expected) == ("ocitool login" in hint)


def test_a_hint_names_no_option_and_no_login_that_would_not_help() -> None:
    for what in ("repository", "catalogue", "token", "login"):  # of which there is one request at a time
        assert "--jobs" not in str(error_for(ErrorResponse(429), what, "h/app", "h").hint)
    assert "the registry limits the rate of requests" == error_for(ErrorResponse(429), "login", "h", "h").hint
    assert "chunks" not in str(error_for(ErrorResponse(413), "manifest sha256:1", "h/app", "h").hint)
    assert "a rule" not in str(error_for(ErrorResponse(403, b"no right to scan"), "tag", "h/scan:1", "h").hint)


def test_a_refusal_without_words_says_what_was_answered_and_by_whom() -> None:
    assert "denied: tag: the registry answers 403" == error_for(ErrorResponse(403), "tag", "h/app:1", "h").what
    assert (
        "denied: blob: s3.example answers 403"
        == error_for(ErrorResponse(403, redirected_to="s3.example"), "blob", "h/app", "h").what
    )


@pytest.mark.parametrize("detail", ["unknown tag=1", f"sha256:{64 * 'a'}", {"name": "app"}, "unknown manifest name=a tag=b"])
def test_details_that_repeat_what_was_asked_for_are_not_said(detail: object) -> None:
    body = errors({"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": detail})
    assert "no such tag" == error_for(ErrorResponse(404, body), "tag", "w", "h").what


def test_the_words_of_a_quota_are_said() -> None:
    body = errors({"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit."})
    assert (
        "too many requests: You have reached your pull rate limit." == error_for(ErrorResponse(429, body), "tag", "w", "h").what
    )


def test_what_is_not_there_is_said_in_the_registrys_words_if_they_say_more() -> None:
    more = errors({"code": "MANIFEST_UNKNOWN", "message": "OCI index found, but accept header does not support OCI indexes"})
    plain = errors({"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {"Tag": "1"}})
    assert (
        "no such tag: OCI index found, but accept header does not support OCI indexes"
        == error_for(ErrorResponse(404, more), "tag", "w", "h").what
    )
    assert "no such tag" == error_for(ErrorResponse(404, plain), "tag", "w", "h").what
