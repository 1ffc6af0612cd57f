"""Files of credentials and the helpers that they name: sound ones, and ones that lie, say too much or do not end."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

from campaign.attack.places import TEXTS, changed, text_of

HELPERS = {
    "good": """printf '{"ServerURL":"x","Username":"%s","Secret":"%s"}' USER PASSWORD""",
    "token": """printf '{"Username":"<token>","Secret":"%s"}' PASSWORD""",
    "says": """echo "the secret is PASSWORD" >&2; echo PASSWORD; exit 1""",
    "odd": """printf '{"Username":1,"Secret":["PASSWORD"]}'""",
    "none": """echo "credentials not found in native keychain"; exit 1""",
    "bare": """printf PASSWORD""",
    "long": """head -c 3000000 /dev/zero""",
    "wild": """printf '{"Username":"a\\033[31m","Secret":"PASSWORD\\r\\nX-Injected: 1"}'""",
    "stays": """sleep 2""",
}
"""What each helper does with the action and the registry that it is given."""


def helpers(where: Path, user: str, password: str) -> None:
    """Makes the programs `docker-credential-NAME` there."""
    where.mkdir(exist_ok=True)
    for name, body in HELPERS.items():
        program = where / f"docker-credential-{name}"
        program.write_text(f"#!/bin/sh\ncat >/dev/null\n{body.replace('USER', user).replace('PASSWORD', password)}\n")
        program.chmod(0o755)


def document(chance: random.Random, host: str, user: str, password: str, foreign: str) -> bytes:
    """A config.json or auth.json that knows the registry, and another with another secret."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    entry: dict[str, Any] = chance.choice((
        {"auth": auth}, {"auth": auth}, {"username": user, "password": password}, {"auth": auth.rstrip("=")},
        {"auth": password}, {"auth": 1},
        {"identitytoken": password}, {"registrytoken": password}, {"auth": auth, "identitytoken": password}, {},
        {"username": user},
    ))  # fmt: skip
    other = {"auth": base64.b64encode(f"other:{foreign}".encode()).decode()}
    keys = chance.choice(([host], [f"http://{host}/v2/"], [f"{host}/app"], [host.upper()], [f"{host}/team", host], []))
    found: Any = {"auths": {**dict.fromkeys(keys, entry), "registry.example.com": other, "127.0.0.1:1": other}}
    if chance.random() < 0.3:
        found["credHelpers"] = {host: chance.choice((*HELPERS, "missing", "../x", "a b", 1, ""))}
    if chance.random() < 0.15:
        found["credsStore"] = chance.choice((*HELPERS, "missing", chance.choice(TEXTS)))
    if chance.random() < 0.2:
        found = changed(chance, found, chance.choice((1, 2, 4)))
    return text_of(chance, found) if chance.random() < 0.3 else json.dumps(found).encode()
