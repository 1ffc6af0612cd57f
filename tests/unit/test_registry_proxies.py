"""By which proxies a host is reached: the rules of NO_PROXY."""

from __future__ import annotations

import pytest

from ocitool.errors import UsageError
from ocitool.transports.registry.http.proxies import is_excluded, proxy_for

EXCEPTED = [
    ("", "localhost", 5000), ("", "127.0.0.1", 443), ("", "127.9.9.9", 443), ("", "::1", 443), ("", "127.1", 443),
    ("*", "reg.example", 443),
    ("10.0.0.7", "10.0.0.7", 5000), ("10.0.0.7:5000", "10.0.0.7", 5000), ("10.0.0.0/8", "10.1.2.3", 443),
    ("fd00::/8", "fd00::1", 443), ("[fd00::1]", "fd00::1", 443), ("[fd00::1]:5000", "fd00::1", 5000),
    ("reg.example", "reg.example", 443), ("example", "reg.example", 443), (".example", "reg.example", 443),
    ("*.example", "reg.example", 443), ("REG.Example", "reg.example", 443), ("reg.example:5000", "reg.example", 5000),
    ("a.example, reg.example", "reg.example", 443), ("a.example reg.example", "reg.example", 443),
    ("reg.example", "reg.example.", 443), ("fd00::1", "fd00::1", 443), ("example.", "example", 443),
    ("::ffff:10.0.0.1", "10.0.0.1", 443), ("10.0.0.0/8", "::ffff:10.0.0.1", 443),
]  # fmt: skip
PROXIED = [
    ("", "reg.example", 443), ("", "10.0.0.7", 443), ("10.0.0.7:5000", "10.0.0.7", 443), ("10.0.0.0/8", "11.1.2.3", 443),
    ("10.0.0.0/8", "reg.example", 443), ("[fd00::1]:5000", "fd00::1", 443), ("g.example", "reg.example", 443),
    ("reg.example:5000", "reg.example", 443), ("reg.example", "example", 443), (",, ,", "reg.example", 443),
    (".", "reg.example", 443), (".reg.example", "reg.example", 443), ("*.reg.example", "reg.example", 443),
    ("10.0.0.0/99", "10.0.0.1", 443), ("10.0.0.7", "10.0.0.70", 443), ("", "localhost.example", 443),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "host", "port"), EXCEPTED)
def test_these_are_reached_without_a_proxy(entries: str, host: str, port: int) -> None:
    assert is_excluded(entries, host, port)


@pytest.mark.parametrize(("entries", "host", "port"), PROXIED)
def test_these_are_reached_through_the_proxy(entries: str, host: str, port: int) -> None:
    assert not is_excluded(entries, host, port)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_environment_names_the_proxies(environment: pytest.MonkeyPatch) -> None:
    assert proxy_for("https://reg.example/v2/") is None
    environment.setenv("https_proxy", " proxy.example:3128 ")
    environment.setenv("ALL_PROXY", "socks5h://proxy.example:1080")
    environment.setenv("NO_PROXY", "10.0.0.7:5000")
    assert "http://proxy.example:3128" == proxy_for("https://reg.example/v2/")
    assert "socks5h://proxy.example:1080" == proxy_for("http://reg.example/v2/")
    assert proxy_for("https://10.0.0.7:5000/v2/") is None


@pytest.mark.parametrize(
    "named", ["ftp://h", "http://", "http://[", "https://user:s3cret@", "x://s3cret@h", "://", "http://:80"]
)
def test_what_is_no_proxy_is_said_by_its_variable_and_without_its_words(named: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", named)
    with pytest.raises(UsageError, match="HTTPS_PROXY is not a valid proxy URL") as raised:
        proxy_for("https://reg.example/v2/")
    assert "s3cret" not in f"{raised.value} {raised.value.hint}"
    assert proxy_for("http://reg.example/v2/") is None
