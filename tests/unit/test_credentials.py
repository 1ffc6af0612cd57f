"""What is printed holds no credential of ours, however it is spelt there."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest

from ocitool import credentials

LOGINS = [("usr", "s3cr3tPW"), ("ci-user", "pa55 wörd:/+"), ("u", "q\"uo\\te<&>'x"), ("x", "hunter2!"), ("y", "100%41%20z")]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SPELT: dict[str, Callable[[str, str], str]] = {
    "as it is": lambda user, word: word,
    "with the user": lambda user, word: f"{user}:{word}",
    "of Basic": lambda user, word: f"Basic {b64(f'{user}:{word}')}",
    "of Basic, without padding": lambda user, word: b64(f"{user}:{word}").rstrip("="),
    "base64 alone": lambda user, word: b64(word),
    "base64, one byte on": lambda user, word: b64("?" + word + "??"),
    "base64, two bytes on": lambda user, word: b64("??" + word),
    "base64 for URLs": lambda user, word: base64.urlsafe_b64encode(f">>>{word}~~".encode()).decode(),
    "base64 in base64": lambda user, word: b64("Basic " + b64(f"{user}:{word}")),
    "base64 in lines": lambda user, word: b64(f"{user}:{word}")[:5] + "\r\n" + b64(f"{user}:{word}")[5:],
    "base64 in a URL": lambda user, word: quote(b64(f"{user}:{word}"), safe=""),
    "URL-encoded": lambda user, word: quote(word, safe=""),
    "URL-encoded in small letters": lambda user, word: "".join(f"%{byte:02x}" for byte in word.encode()),
    "URL-encoded where it need not": lambda user, word: f"%{ord(word[0]):02X}" + word[1:].replace("%", "%25"),
    "URL-encoded twice": lambda user, word: quote(quote(word, safe=""), safe=""),
    "of a form": lambda user, word: quote_plus(word),
    "in an address": lambda user, word: f"https://{user}:{quote(word, safe='')}@host/",
    "in JSON": lambda user, word: json.dumps(word)[1:-1],
    "in JSON in JSON": lambda user, word: json.dumps(json.dumps(word)),
    "in JSON by numbers": lambda user, word: "".join(f"\\u{ord(one):04X}" for one in word),
    "in a JSON pointer": lambda user, word: word.replace("~", "~0").replace("/", "~1"),
    "in HTML": lambda user, word: html.escape(word),
    "in HTML by numbers": lambda user, word: "".join(f"&#x{ord(one):x};" for one in word),
    "as Python writes bytes": lambda user, word: repr(word.encode())[2:-1],
    "read as Latin-1": lambda user, word: word.encode().decode("latin-1"),
    "in hexadecimal": lambda user, word: word.encode().hex().upper(),
    "with what has no width": lambda user, word: "\u200b".join(word),
    "over two lines": lambda user, word: f"{word[:4]}\n{word[4:]}",
}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    credentials.forget()
    yield
    credentials.forget()


@pytest.mark.parametrize(("user", "word"), LOGINS)
@pytest.mark.parametrize("spelt", SPELT.values(), ids=SPELT)
def test_a_password_is_replaced_however_it_is_spelt(user: str, word: str, spelt: Callable[[str, str], str]) -> None:
    credentials.remember_login(user, word)
    shown = credentials.masked(f"before ({spelt(user, word)}) after")
    assert "***" in shown and shown.startswith("before (") and shown.endswith(" after"), shown
    kept = shown.replace("before (", "").replace(") after", "").replace("Basic ", "").replace(f"https://{user}:", "")
    assert len(kept.replace("@host/", "").replace("***", "")) <= 8, shown  # padding, quotes, lines


def test_what_was_registered_in_another_command_is_forgotten() -> None:
    credentials.remember_login("usr", "s3cr3tPW")
    credentials.forget()
    assert "s3cr3tPW" == credentials.masked("s3cr3tPW")


def test_a_text_without_credentials_stays_as_it_is() -> None:
    credentials.remember_login("usr", "s3cr3tPW")
    for text in ("", "100 % of \\n and &amp; %41", "a\u200bb\nc …", "s3cr3t PW", "dXNy", "x" * 40_000 + "\n…"):
        assert text == credentials.masked(text)


def test_a_short_password_is_replaced_with_its_user_alone_and_a_word_as_a_word() -> None:
    credentials.remember_login("me", "ab1")
    credentials.remember_login("me", "apple")
    credentials.remember_login("me", "12345678")
    assert "ab1 *** Basic ***" == credentials.masked(f"ab1 me:ab1 Basic {b64('me:ab1')}")
    assert "***, pineapples" == credentials.masked("apple, pineapples")
    assert '"size": 123456789, ***' == credentials.masked('"size": 123456789, 12345678')


def test_a_password_in_the_place_of_a_host_is_replaced_in_small_letters() -> None:
    credentials.remember_login("usr", "S3cr3t-Pa55w0rd")
    assert "not known (***:80)" == credentials.masked("not known (s3cr3t-pa55w0rd:80)")


def test_what_a_shortened_text_shows_of_a_credential_is_replaced() -> None:
    credentials.remember_login("usr", "s3cr3tPW-and-more")
    basic = b64("usr:s3cr3tPW-and-more")
    assert "x ***…" == credentials.masked("x s3cr3tPW…")
    assert "x …*** y" == credentials.masked("x …and-more y")
    assert "x ***…" == credentials.masked(f"x {basic[:9]}…")
    assert "x s3…" == credentials.masked("x s3…")


def test_a_token_is_replaced_whole_and_thousands_of_them_cost_little() -> None:
    tokens = [f"eyJ.{n}." + b64(f"{n}" * 900) for n in range(2000)]
    credentials.remember(*tokens)
    began = time.process_time()
    assert "Bearer ***, next" == credentials.masked(f"Bearer {tokens[7]}, next")
    assert "***" == credentials.masked(b64("Bearer " + tokens[1999]))
    assert time.process_time() - began < 5


def test_time_grows_with_the_text_alone() -> None:
    token = "T" + b64("0123456789" * 30)
    credentials.remember(token)
    credentials.remember_login("usr", "s3cr3tPW")
    hostile = [token[:24] * 20_000, "…" * 50_000, "%41" * 100_000, "\\u0041" * 50_000, "s3cr3tP" * 50_000, token[:24] + "…"]
    for text in hostile:
        began = time.process_time()
        credentials.masked(text)
        assert time.process_time() - began < 5, text[:40]


@pytest.mark.parametrize("alphabet", ["a", "!"])
def test_a_server_that_chose_the_token_and_writes_the_text_costs_no_more(alphabet: str) -> None:
    credentials.remember(alphabet * 20_000)
    began = time.process_time()
    assert "***" in credentials.masked(alphabet * 4_000 + "b…" * 4_000 + alphabet * 9 + "…")
    assert time.process_time() - began < 5


def test_of_long_tokens_no_more_is_held_than_they_are_known_by() -> None:
    for n in range(200):
        credentials.remember(f"{n:03}" + "A" * 100_000 + f"{n:03}")
    assert sum(map(len, credentials._texts)) < 200 * 1_000
    credentials.forget()
    credentials.remember("007" + "A" * 100_000 + "007")
    assert "Bearer ***, next" == credentials.masked("Bearer 007" + "A" * 100_000 + "007, next")
    assert "Bearer ***…" == credentials.masked("Bearer 007" + "A" * 500 + "…")


@pytest.mark.parametrize("register", [credentials.remember, credentials.remember_given])
@pytest.mark.parametrize("secret", ["a1" * 30_000 + "!", "ab1!" * 15_000, "x1€" * 20_000])
def test_a_long_secret_that_is_no_token_is_found_in_time_that_grows_with_the_text(
    register: Callable[[str], None], secret: str
) -> None:
    register(secret)
    began = time.process_time()
    for text in (secret, quote(secret), b64(secret)):
        assert "said *** to" == credentials.masked(f"said {text} to")
    for text in (secret[1:-1], secret[:-1] + "?" + secret[1:], secret[:2] * 60_000):
        credentials.masked(text)
    assert time.process_time() - began < 5


def test_a_long_secret_with_blanks_is_replaced_whole_and_takes_nothing_beside_with_it() -> None:
    key = json.dumps({"type": "service_account", "private_key": "MIIE" * 40, "note": "two words"}, indent=2)
    credentials.remember(key)
    assert "before *** after" == credentials.masked(f"before {key} after")
    assert "before *** after" == credentials.masked(f"before {b64(key)} after")


def test_of_what_servers_give_no_more_is_held_than_it_is_known_by() -> None:
    for n in range(200):
        credentials.remember_given(f"{n:03}" + "a1!" * 30_000)
    assert sum(map(len, credentials._given)) < 200 * 1_000


def test_servers_that_give_any_number_of_tokens_and_signatures_cost_no_more() -> None:
    credentials.remember_login("usr", "s3cr3tPW-and-more")
    began = time.process_time()
    for hop in range(50):
        credentials.remember_address("https://store/?" + "&".join(f"sig=signature-{hop:02}-{n:06}" for n in range(5_000)))
        credentials.remember_given(f"eyJ.{hop}." + "A" * 50)
    assert "*** ***" == credentials.masked(f"s3cr3tPW-and-more eyJ.49.{'A' * 50}")
    assert time.process_time() - began < 5
    assert len(credentials._given) <= 2_000


def test_a_server_hides_no_word_of_a_report() -> None:
    words = ("setuid", "linux", "PATH", "/usr/bin/su", "privileged", "12345678901234567890", "RUN curl http://x1 | sh")
    credentials.remember_given(*words)
    for word in words:
        credentials.remember_address(f"https://store.example/1?sig={word}&X-Amz-Signature={word}")
        assert word == credentials.masked(word)
    credentials.remember_given("ab12cd34ef56ab12")
    assert "***" == credentials.masked("ab12cd34ef56ab12")


def test_the_login_of_an_address_and_the_signatures_in_it_are_replaced() -> None:
    credentials.remember_address("http://me:pr0xy%2Fword@proxy:3128/")
    credentials.remember_address(
        "https://store/1?X-Amz-Signature=abcdef0123456789&X-Amz-Date=20260101&sig=a%2Fb%2Fc%2Fdef0123456"
    )
    signed = ("abcdef0123456789", "a/b/c/def0123456", "a%2fb%2fc%2fdef0123456")
    for said in ("pr0xy/word", "pr0xy%2Fword", b64("me:pr0xy/word"), *signed):
        assert "-***-" == credentials.masked(f"-{said}-")
    assert "20260101" == credentials.masked("20260101")


@pytest.mark.parametrize("secret", ["\udfff\udfff\udfff\udfff", "pass\ud800word", "pass\udc80word"])
def test_a_secret_with_half_of_a_surrogate_pair_is_one(secret: str) -> None:
    credentials.remember(secret)
    credentials.remember_login("user", secret)
    assert credentials.masked(f"before {secret} behind") == "before *** behind"
