"""Secrets in the middle of any text: private keys, tokens known by their prefix, passwords in URLs, JSON, form data.

Every pattern takes time that grows with the text alone: runs are possessive, and a match begins where a run begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ocitool.masking.names import secret_name, secret_parameter
from ocitool.masking.patterns import pattern

Hide = Callable[[str], str]
"""What stands in the place of a secret."""
Named = Callable[[str], bool]

_OPENING = pattern(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_CLOSING = pattern(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_W, _D = "[A-Za-z0-9_]", "[A-Za-z0-9_-]"
_TOKEN = pattern(
    r"(?<![A-Za-z0-9_])(?:"
    rf"(?:gh[oprsu]_|github_pat_|[rs]k_(?:live|test)_|sk_org_|shp(?:at|ss|ca|pa)_|do[opr]_v1_|lin_api_|pscale_tkn_"
    rf"|whsec_|glsa_|ATATT3x|sntrys_|rubygems_){_W}{{4,}}+"
    r"|(?:hf|npm)_[A-Za-z0-9]{16,}+"
    r"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}+"
    r")"
    r"|(?<![A-Za-z0-9_-])(?:"
    rf"dckr_[op]at_{_D}{{4,}}+|(?:gl(?:pat|dt|rt|cbt|ptt|ft|soat)|xox[a-z]|xapp|xkeysib|tskey|sntryu|NRAK)-{_D}{{4,}}+"
    rf"|sk-{_D}{{16,}}+|pypi-{_D}{{16,}}+|AIza{_D}{{16,}}+|sq0[a-z]{{3}}-{_D}{{8,}}+"
    rf"|(?:(?:SG|hv[sbr]|ya29)\.[A-Za-z0-9_.-]{{12,}}+)"
    rf"|eyJ{_D}{{5,}}+\.{_D}{{3,}}+(?:\.{_D}*+)?"
    r"|(?i:AGE-SECRET-KEY-1[a-z0-9]{4,}+)"
    r")"
)
_MEMBER = pattern(
    r"""(?P<head>(?P<quote>["'])(?P<name>[^"'\\\n]{1,120})(?P=quote)[ \t]*+:\s*+)"""
    r"""(?P<value>"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|'(?:[^'\\]++|\\.)*+(?:'|\\?\Z)|[^\s,{}\[\]"']++)""",
    re.DOTALL,
)
_URL = pattern(r"://(?P<rest>[^\s\"'<>]++)")
_PARAMETER = pattern(r"(?P<head>[?&;#](?P<name>[A-Za-z0-9_.%\[\]-]{1,120})=)(?P<value>[^&#;]++)")
_ASSIGNED = pattern(
    r"(?P<head>(?<![A-Za-z0-9_.-])(?P<name>[A-Za-z0-9_.-]{1,400}+)[ \t]?+=[ \t]?+)"
    r"""(?P<value>"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|'[^']*+(?:'|\Z)|[^\s&;,"'<>|)}\]]++)""",
    re.DOTALL,
)
_BEARER = pattern(r"(?P<head>\b[Bb]earer\s++)(?P<value>[A-Za-z0-9._~+/=-]{6,}+)")
_NETRC = pattern(r"(?P<head>\blogin\s++\S++\s++password\s++)(?P<value>\S++)")
_SQL = pattern(r"(?P<head>(?i:\bpassword|\bidentified\s++by)\s++(?P<quote>['\"]))(?P<value>[^'\"]++)(?P<tail>(?P=quote)|\Z)")


def known_token(text: str) -> bool:
    """Whether a private key or a token of a known prefix stands in the text."""
    return _OPENING.search(text) is not None or _TOKEN.search(text) is not None


def hide_keys(text: str, hide: Hide) -> str:
    """Without the inside of private keys; one that does not end goes on to the text's end."""
    found = _OPENING.search(text)
    if found is None:
        return text
    parts: list[str] = []
    at = 0
    while found is not None:
        closing = _CLOSING.search(text, found.end())
        end = closing.start() if closing else len(text)
        parts += [text[at : found.end()], hide(text[found.end() : end])]
        at = end
        found = _OPENING.search(text, end)
    return "".join([*parts, text[at:]])


def hide_members(text: str, hide: Hide, named: Named = secret_name) -> str:
    """Without the values of members of JSON whose name is secret."""

    def member(found: re.Match[str]) -> str:
        value = found["value"]
        if not named(found["name"]):
            return found[0]
        quote = value[0] if value[0] in "\"'" else ""
        closed = bool(quote) and len(value) > 1 and value.endswith(quote)
        inner = value[len(quote) : -1 if closed else None]
        return found["head"] + quote + hide(inner) + (quote if closed else "") if inner else found[0]

    return _MEMBER.sub(member, text) if ":" in text else text


def hide_urls(text: str, hide: Hide, named: Named = secret_parameter) -> str:
    """Without passwords before an `@` in URLs, and without tokens and signatures in their parameters."""
    return _URL.sub(lambda found: "://" + _url(found["rest"], hide, named), text) if "://" in text else text


def _url(rest: str, hide: Hide, named: Named) -> str:
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    at = authority.rfind("@")
    if at < 0 and re.match(r"[^:/?#@]*+:(?![0-9]{1,5}(?:[/?#]|$))", rest):
        at = rest.rfind("@")  # a password with a slash in it that should have been %2F; a port is none
    head = ""
    if at >= 0:
        user, colon, password = rest[:at].partition(":")
        if colon:
            head = f"{user}:{hide(password)}@" if password else f"{user}:@"
        else:
            head = f"{hide(user)}@" if len(user) >= 16 else f"{user}@"  # a token in the place of a user's name
        rest = rest[at + 1 :]

    def parameter(found: re.Match[str]) -> str:
        return found["head"] + hide(found["value"]) if named(found["name"]) else found[0]

    return head + _PARAMETER.sub(parameter, rest)


def hide_anywhere(text: str, hide: Hide, named: Named = secret_name) -> str:
    """Without whatever of the above stands anywhere in the text, nor the values that it assigns to secret names."""

    def value(found: re.Match[str]) -> str:
        return found["head"] + hide(found["value"]) + (found.groupdict().get("tail") or "")

    def assigned(found: re.Match[str]) -> str:
        word = found["value"]
        if not named(found["name"]):
            return found[0]
        quote = word[0] if word[0] in "\"'" else ""
        return found["head"] + quote + hide(word.strip(quote) if quote else word) + quote

    text = hide_keys(text, hide)
    text = hide_members(text, hide, named)
    text = hide_urls(text, hide)
    text = _BEARER.sub(value, text)
    if "password" in text or "PASSWORD" in text or "BY" in text.upper():
        text = _SQL.sub(value, _NETRC.sub(value, text))
    if "=" in text:
        text = _ASSIGNED.sub(assigned, text)
    return hide_tokens(text, hide)


def hide_tokens(text: str, hide: Hide) -> str:
    """Without tokens that are known by their prefix."""
    return _TOKEN.sub(lambda found: hide(found[0]), text)
