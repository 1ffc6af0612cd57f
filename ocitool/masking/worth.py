"""Whether a value can hold a secret at all. Most of what images say cannot, and then nothing else of this package is loaded."""

from __future__ import annotations

import re
from typing import Any

from ocitool.patterns import pattern

AFTER = "after the instruction "
"""What stands before an instruction in a sentence of ours."""

WORTH = pattern(
    r"pass|pwd|pw|secret|tok|cred|key|auth|jwt|salt|dsn|pin|psk|sas|otp|cookie|webhook|conn|netrc|bearer|identified|://|private"
    r"|gh[oprsu]_|_pat_|[rs]k_|sk|hf_|npm_|akia|asia|abia|acca|gl|xo|xapp|xkeysib|nrak|pypi|aiza|sq0|hv|sg\.|ya29|eyj|age|shp"
    r"|do[opr]_v1|lin_api|atatt|sntry|rubygems|curl|http|mysql|mariadb|login|mongo|redis|ldap|sqlcmd|zip|lftp|smbclient"
    r"|mount|helm|ansible|openssl|useradd|usermod|twine|ncftp|nuget|rar|rabbitmqctl|vault|net\b|composer|bundle|sqlplus|sqlldr"
    r"|(?<![0-9])7z|pat(?![a-z])|sig(?![a-z])|signature|--stdin|(?<![a-z])(?:ab|hey|wrk|xh)(?![a-z])"
    r"|securestring|expdp|impdp|ngrok|snyk|mc\b|kinit|sudo|bcp|jdbc",
    re.IGNORECASE,
)
"""Without any of it there is nothing to hide, and the text is left as it is at once."""


def may_hold(value: Any, name: str = "") -> bool:
    """Whether a JSON value, or the name that it stands under, has a word without which there is nothing to hide."""
    if isinstance(value, str):
        return WORTH.search(value) is not None or WORTH.search(name) is not None
    if isinstance(value, dict):
        return may_hold(name) or any(may_hold(item, str(key)) for key, item in value.items())
    if isinstance(value, list):
        return may_hold(name) or any(may_hold(item) for item in value)
    return may_hold(name)
