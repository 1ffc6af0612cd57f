"""The command at a home of its own, whose every word is searched for secrets, and registries that ask who we are."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ocitool.limits import MiB
from support.copying import ONE, TWO
from support.images import image, layer_tar
from support.registries import put_images, random_bytes
from support.registry import BasicAuth, ScriptedRegistry, TokenAuth

Run = Callable[..., Any]
Auth = Callable[[], BasicAuth | None]
USER, PASSWORD, WRONG, OTHER = "ci-user", "pa55 wörd:/+", "wr0ng-word", "0ther-word"
SIGNED = "?X-Signature=5igned%2Ffor-us&X-Expires=9"
APP = image([ONE, TWO], codec="none", tag="app")
LARGE = layer_tar([("large", random_bytes(2 * MiB))])
BIG = image([LARGE, ONE, TWO], codec="none", tag="app")
"""Its first layer is sent by PATCH, the others with the PUT that ends their upload."""


def basic_credentials(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


SECRET = re.compile(
    "|".join(
        [
            "pa55", WRONG, OTHER, "5igned", "fr0m-netrc", "pr0xy-word", "token-[0-9a-f]{16}", "refresh-[0-9a-f]{16}",
            *(re.escape(basic_credentials(USER, word).rstrip("=")) for word in (PASSWORD, WRONG, OTHER)),
        ]
    )
)  # fmt: skip
"""Every password, token and signature that these tests use, as it is and as headers spell it."""


class RegistryCommand:
    """The command at a home of its own. Calling it checks the exit code, and that no secret is printed."""

    def __init__(self, ocitool: Run, folder: Path) -> None:
        self.ocitool, self.folder, self.home = ocitool, folder, folder / "home"
        self.file = self.home / ".docker" / "config.json"
        self.home.mkdir()
        unset = ("REGISTRY_AUTH_FILE", "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        proxies = [name for word in ("http", "https", "all", "no") for name in (f"{word}_proxy", f"{word.upper()}_PROXY")]
        self.env: dict[str, str | None] = {
            **dict.fromkeys((*unset, *proxies)), "HOME": str(self.home), "DOCKER_CONFIG": str(self.file.parent),
            "XDG_RUNTIME_DIR": str(folder / "run"), "XDG_CONFIG_HOME": str(folder / "config"),
        }  # fmt: skip

    def __call__(self, *words: str | Path, code: int = 0, stdin: str = "", **env: str) -> Any:
        result = self.ocitool(*words, "--debug", cwd=self.folder, stdin=stdin.encode(), env={**self.env, **env}, timeout=60)
        assert [] == SECRET.findall(result.out + result.err), str(result)
        assert code == result.code, str(result)
        if code:
            assert 1 == result.err.count("ocitool: error: ") and "a bug" not in result.err, str(result)
        return result

    def write_auths(self, entries: dict[str, dict[str, str]], **more: Any) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps({"auths": entries, **more}))

    def set_credentials(self, *hosts: str, user: str = USER, password: str = PASSWORD) -> None:
        self.write_auths({host: {"auth": basic_credentials(user, password)} for host in hosts})


@contextmanager
def registry_with(auth: BasicAuth | None, *repos: str, one: Any = APP, **how: Any) -> Iterator[ScriptedRegistry]:
    """A registry that has the image in these repositories, tag 1."""
    with ScriptedRegistry(auth=auth, **how) as registry:
        for repo in repos or ("app",):
            put_images(registry, repo, one, tag="1")
        yield registry


def basic() -> BasicAuth:
    return BasicAuth(USER, PASSWORD)


def tokens(**how: Any) -> TokenAuth:
    return TokenAuth(USER, PASSWORD, **how)


BOTH = pytest.mark.parametrize("auth", [basic, tokens])


def authorizations(registry: Any) -> set[str | None]:
    return {one.headers.get("authorization") for one in registry.requests}


def assert_login_hint(result: Any, registry: Any) -> None:
    assert f"\nhint: ocitool login {registry.host} " in result.err, str(result)
