"""Whether a value can hold a secret at all. Most of what images say cannot, and then nothing else of this package is loaded."""

from __future__ import annotations

import re
from typing import Any

from ocitool.patterns import pattern

AFTER = "after the instruction "
"""What stands before an instruction in a sentence of ours."""

_WORDS = pattern(
    r"pass|pwd|pw|secret|tok|cred|key|auth(?!ors?\b)|jwt|salt|dsn|pin|psk|sas|otp|cookie|webhook|conn|netrc|bearer|identified|private"
    r"|hooks\.|gh[oprsu]_|_pat_|[rs]k_|(?<![a-z0-9])sk-|hf_|npm_|akia|asia|abia|acca"
    r"|gl[a-z]{2,4}-|glsa_|xox|xapp|xkeysib|nrak|pypi|aiza|sq0|hv[sbr]\.|sg\.|ya29|eyj|shp"
    r"|do[opr]_v1|lin_api|atatt|sntry|rubygems|curl|(?<![a-z])http(?!s?:)|mysql|mariadb|login|mongo|redis|ldap|sqlcmd|zip|lftp"
    r"|smbclient|mount|helm|ansible|openssl|useradd|usermod|twine|ncftp|nuget|(?<![a-z])(?:un)?rar(?![a-z])|rabbitmqctl|vault|net\b"
    r"|composer|bundle|sqlplus|sqlldr"
    r"|(?<![0-9])7z|pat(?![a-z])|sig(?![a-z])|signature|--stdin|(?<![a-z])(?:ab|hey|wrk|xh)(?![a-z])"
    r"|securestring|expdp|impdp|ngrok|snyk|mc\b|kinit|sudo|bcp|jdbc",
    re.IGNORECASE,
)
"""Without any of it there is nothing to hide, unless there is a URL with more than a path."""
_IN_A_URL = pattern(r"[@?&;#]")


def worth(text: str) -> bool:
    """Whether a text may hold a secret by what stands in it. Else it is left as it is at once."""
    if _WORDS.search(text) is not None:
        return True
    url = text.find("://")
    return url >= 0 and _IN_A_URL.search(text, url) is not None


def may_hold(value: Any, name: str = "") -> bool:
    """Whether a JSON value, or the name that it stands under, has a word without which there is nothing to hide."""
    if isinstance(value, str):
        return worth(value) or worth(name)
    if isinstance(value, dict):
        return may_hold(name) or any(may_hold(item, str(key)) for key, item in value.items())
    if isinstance(value, list):
        return may_hold(name) or any(may_hold(item) for item in value)
    return may_hold(name)
