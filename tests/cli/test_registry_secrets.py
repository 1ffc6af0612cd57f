"""A registry, its token server or a proxy says again what was sent to it: nothing that the command prints holds it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from support.copying import ONE
from support.images import config_of, image
from support.registries import put_images
from support.registry import Fault, HttpServer, Reply, Request, ScriptedRegistry, _Body
from support.registry_command import PASSWORD, SECRET, USER, RegistryCommand, basic, basic_credentials, tokens

WORD, BASIC = PASSWORD, basic_credentials(USER, PASSWORD)
ECHOES: dict[str, Callable[[str], str]] = {
    "header": lambda given: given,
    "decoded": lambda given: base64.b64decode(given.split()[1]).decode() if given.startswith("Basic") else given,
    "password": lambda given: f"wrong password '{WORD}' of {USER}",
    "in a URL": lambda given: quote(given, safe="") + quote(WORD, safe="").lower(),
    "in JSON": lambda given: json.dumps({"password": WORD, "header": given}),
    "in JSON by numbers": lambda given: "".join(f"\\u{ord(one):04x}" for one in WORD),
    "cut": lambda given: "x" * (300 - len("bad : ")) + given,
    "cut in the middle": lambda given: "x" * (285 - len("bad : ")) + given,
    "in base64": lambda given: base64.b64encode(f"header: {given} {WORD}".encode()).decode(),
}


class EchoServer(HttpServer):
    """Asks for Basic, then answers with what `say` makes of the header."""

    def __init__(self, say: Callable[[str], str], status: int = 403) -> None:
        super().__init__()
        self.say, self.status = say, status

    def respond(self, request: Request, body: _Body, faults: list[Fault]) -> Reply:
        given = request.headers.get("authorization", "")
        if not given:
            return Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        errors = {"errors": [{"code": "X", "message": f"bad {given.split()[0]}: {self.say(given)}"}]}
        return Reply(status=self.status, body=json.dumps(errors).encode())


def unsaid(*texts: str) -> None:
    """Beside what every run of `RegistryCommand` is searched for: parts, and other spellings."""
    for text in texts:
        folded = text.lower()
        for secret in (WORD, quote(WORD, safe=""), WORD[:6], BASIC[:10], "".join(f"\\u{ord(one):04x}" for one in WORD)):
            assert secret.lower() not in folded, text
        assert [] == SECRET.findall(text)


@pytest.mark.parametrize("status", [403, 400, 429, 500])
@pytest.mark.parametrize("say", ECHOES.values(), ids=ECHOES)
def test_an_error_that_says_our_header_again_is_shown_without_it(
    say: Callable[[str], str], status: int, command: RegistryCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocitool.task.Task.pause", lambda task, seconds: None)
    with EchoServer(say, status) as site:
        command.set_credentials(site.host)
        result = command("tags", f"{site.host}/app", "--insecure", code=8)
        unsaid(result.out, result.err)


def test_a_list_a_report_and_its_file_are_without_it(command: RegistryCommand) -> None:
    with ScriptedRegistry(auth=basic()) as registry:
        command.set_credentials(registry.host)
        put_images(registry, "app", image([ONE], tag="app"), tag="1")
        body = json.dumps({"name": "app", "tags": ["1", BASIC, WORD, f"x{WORD}x"]}).encode()
        registry.faults.append(Fault("GET", "/tags/list", status=200, body=body))
        for form in ("text", "json"):
            result = command("tags", f"{registry.host}/app", "--insecure", "--format", form, "--report", "said")
            unsaid(result.out, result.err, (command.folder / "said").read_text())
            assert "***" in (command.folder / "said").read_text()
            assert "***" in command("tags", f"{registry.host}/app", "--insecure", "--format", form).out


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_an_image_that_a_registry_made_of_it_is_shown_without_it(form: str, command: RegistryCommand) -> None:
    labels = {"note": f"you are {WORD}", WORD: "x", "basic": f"Basic {BASIC}", "long": "y" * 190 + BASIC}
    one = image([ONE], config=config_of([ONE], config={"Labels": labels, "Cmd": ["run", WORD]}, author=WORD), tag="app")
    with ScriptedRegistry(auth=basic()) as registry:
        command.set_credentials(registry.host)
        put_images(registry, "app", one, tag="1")
        result = command("inspect", f"docker://{registry.host}/app:1", "--insecure", "--format", form)
        unsaid(result.out, result.err)
        other = command("diff", "app", f"docker://{registry.host}/app:1", "--insecure", "--format", form, "--fail-on", "none")
        unsaid(other.out, other.err)


def test_a_registry_that_says_the_token_and_a_token_server_that_says_the_password(command: RegistryCommand) -> None:
    with ScriptedRegistry(auth=tokens()) as registry:
        command.set_credentials(registry.host)
        put_images(registry, "app", image([ONE], tag="app"), tag="1")

        def refuse(request: Request) -> None:
            answer = json.dumps({"errors": [{"message": f"no: {request.headers['authorization']}"}]}).encode()
            registry.faults.append(Fault("GET", "/tags/", status=403, body=answer))

        registry.faults.append(Fault("GET", "/tags/", hook=refuse, times=1, status=503))
        result = command("tags", f"{registry.host}/app", "--insecure", code=8)
        assert "denied: no: Bearer ***" in result.err, str(result)
        registry.faults[:] = [Fault("GET", "/token", status=403, body=json.dumps({"errors": [{"message": BASIC}]}).encode())]
        unsaid(command("tags", f"{registry.host}/app", "--insecure", code=8).err)


def test_an_address_with_a_password_in_it_is_shown_without_it(command: RegistryCommand) -> None:
    for words in (("inspect", "docker://me:h1dden-w0rd@reg.example/app:1"), ("tags", "https://me:h1dden-w0rd@reg.example/app")):
        result = command(*words, code=2)
        assert "h1dden" not in result.err, str(result)


def test_a_proxy_that_says_its_password_again(command: RegistryCommand) -> None:
    class Proxy(HttpServer):
        def respond(self, request: Request, body: _Body, faults: list[Fault]) -> Reply:
            given = request.headers.get("proxy-authorization", "")
            return Reply(status=403, body=json.dumps({"errors": [{"message": f"no {given} pr0xy-word"}]}).encode())

    with Proxy() as proxy:
        way = f"http://us:pr0xy-word@{proxy.host}"
        result = command("tags", "reg.example:5000/app", "--insecure", code=8, http_proxy=way, https_proxy=way)
        assert "no Basic ***" in result.err and basic_credentials("us", "pr0xy-word") not in result.err, str(result)
        assert proxy.requests
