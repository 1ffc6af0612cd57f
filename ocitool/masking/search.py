"""Masks secrets anywhere in a text: private keys, tokens with a known prefix, passwords in URLs, JSON and form data.

The functions return the text with each secret replaced by what `hide` returns for it. Every pattern takes time linear in
the length of the text: repetitions are possessive, and a match can only begin at the start of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ocitool.masking.names import secret_name, secret_parameter
from ocitool.patterns import pattern

Hide = Callable[[str], str]
"""A function from a secret to what is shown instead."""
Named = Callable[[str], bool]

_OPENING = pattern(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_CLOSING = pattern(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_W, _D = "[A-Za-z0-9_]", "[A-Za-z0-9_-]"
_TOKEN = pattern(
    r"(?<![A-Za-z0-9_])(?:"
    rf"(?:gh[oprsu]_|github_pat_|[rs]k_(?:live|test)_|sk_org_|shp(?:at|ss|ca|pa)_|do[opr]_v1_|lin_api_|pscale_tkn_"
    rf"|whsec_|glsa_|ATATT3x|sntrys_|rubygems_|glc_|ATCTT3x|CCIPAT_|bk(?:ua|ct)_|sb_secret_|pscale_(?:pw|oauth)_"
    rf"|apify_api_|tgp_v1_|f(?:o1|m1r|m2)_){_W}{{4,}}+"
    r"|(?:ntn|figd|sbp|sgp|gsk|r8|tfp|rdme|pnu|nfp|vercel|phx)_[A-Za-z0-9]{20,}+"
    r"|GR1348941[A-Za-z0-9_-]{16,}+|dapi[0-9a-f]{32}(?:-[0-9]+)?|ATBB[A-Za-z0-9]{24,}+|LTAI[A-Za-z0-9]{16,}+"
    r"|AKID[A-Za-z0-9]{28,}+|AKCp[A-Za-z0-9]{32,}+|cmVmdGtuOjA[A-Za-z0-9]{16,}+|ABSK[A-Za-z0-9+/]{60,}+={0,2}"
    r"|pat[A-Za-z0-9]{14}\.[0-9a-f]{64}|key-[0-9a-f]{32}|[0-9a-f]{32}-us[0-9]{1,2}|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"
    r"|secret_[A-Za-z0-9]{43}|ops_eyJ[A-Za-z0-9_-]{20,}+"
    r"|(?:hf|npm)_[A-Za-z0-9]{16,}+"
    r"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}+"
    r")"
    r"|(?<![A-Za-z0-9_-])(?:"
    rf"dckr_[op]at_{_D}{{4,}}+"
    rf"|(?:gl(?:pat|dt|rt|rtr|cbt|ptt|ft|soat|imt|agent|ffct)|xox[a-z]|xapp|xkeysib|tskey|NRAK|NRII|GOCSPX|PMAK|HRKU|CFPAT)"
    rf"-{_D}{{4,}}+"
    rf"|(?:pul|xai|pplx|tvly|nvapi)-{_D}{{20,}}+|sntryu[_-]{_D}{{4,}}+|sl\.{_D}{{40,}}+|[A-Za-z0-9]{{3}}[0-9]Q~{_D}{{28,}}+"
    rf"|dp\.[a-z]{{2,6}}(?:\.[a-z0-9_-]{{2,35}})?\.[A-Za-z0-9]{{40,}}+|dt0c01\.[A-Z0-9]{{24}}\.[A-Z0-9]{{32,}}+"
    rf"|[A-Za-z0-9]{{14}}\.atlasv1\.{_D}{{40,}}+"
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
_DIGEST = pattern(r"[a-z0-9+._-]+:[0-9a-fA-F]{32,}(?![0-9A-Za-z])")
_LOGIN = pattern(
    r"(?P<head>://[^\s:/?#@'\"<>$`&;|()]*+:)(?P<value>(?=[^\s@'\"$`/]*[&;|()<>])[^\s@'\"$`/]++)(?=@[A-Za-z0-9.\[-])"
)
_PARAMETER = pattern(r"(?P<head>[?&;#](?P<name>[A-Za-z0-9_.%\[\]-]{1,120})=)(?P<value>[^&#;]++)")
_ASSIGNED = pattern(
    r"(?P<head>(?<![A-Za-z0-9_.-])(?P<name>[A-Za-z0-9_.-]{1,400}+)[ \t]?+=[ \t]?+)"
    r"""(?P<value>"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|'[^']*+(?:'|\Z)|[^\s&;,"'<>|)}\]]++)""",
    re.DOTALL,
)
_ELEMENT = pattern(r"(?P<head><(?P<name>[A-Za-z_][A-Za-z0-9_.:-]*+)(?:\s[^<>]*+)?>)(?P<value>[^<]++)(?=</)")
_NAMED_VALUE = pattern(
    r"(?P<head>\b(?i:key|name)\s*+=\s*+(?P<q>[\"'])(?P<name>[^\"']{1,120})(?P=q)\s++(?i:value)\s*+=\s*+(?P<quote>[\"']))"
    r"(?P<value>[^\"']++)"
)
_FLOW = pattern(r"(?P<head>[{,\n]\s*+(?P<name>[A-Za-z_][A-Za-z0-9_.-]*+)\s*+:[ \t]*+)(?P<value>[^,{}\[\]\n]++)")
_HOOK = pattern(
    r"(?P<head>(?:hooks\.slack\.com/(?:services|workflows)|discord(?:app)?\.com/api/webhooks|webhook\.office\.com)/)"
    r"(?P<value>[^\s\"'<>?#]++)"
)
_LINE = pattern(
    r"(?P<head>(?P<indent>[ \t]*+)(?:-[ \t]++)?(?P<quote>[\"']?)(?P<name>[A-Za-z_][A-Za-z0-9_.-]*+)(?P=quote)"
    r"(?:[ \t]*+=[ \t]*+|:(?:[ \t]++|\Z)))"
    r"(?P<value>.*+)"
)
_BLOCK = pattern(r"[|>][+-]?[0-9]?\s*")
_RUNS = pattern(r"[;&|<>$`()\\]|\s[-/.]|://")
_BEARER = pattern(r"(?P<head>\b[Bb]earer\s++)(?P<value>[A-Za-z0-9._~+/=-]{6,}+)")
_WHOLE = pattern(
    r"(?P<head>\s*+(?:[Bb]earer\s++|[^\s:/@=]{1,100}+:(?=\S++\Z)))(?P<value>[^\s@(]++)(?P<tail>\s*+|@(?:tcp|unix)\(.*+)",
    re.DOTALL,
)
"""A text that is only `Bearer TOKEN`, or only the address of a database, `user:password@tcp(host)/name`."""
_NETRC = pattern(
    r"(?P<head>(?:\b|\\n)(?:login|machine)(?:\s|\\[nrt])++[^\s\\]++(?:\s|\\[nrt])++password(?:\s|\\[nrt])++)"
    r"(?P<value>[^\s\\'\"]++)"
)
_SQL = pattern(
    r"(?P<head>(?i:\bpassword|\bidentified\s++(?:with\s++\S++\s++)?by)(?:\s*+\(\s*+|\s++)(?P<quote>['\"]))(?P<value>[^'\"]++)"
    r"(?P<tail>(?P=quote)|\Z)"
)
_ORACLE = pattern(r"(?P<head>\bjdbc:oracle:[a-z]{1,10}+:[^\s/@'\"]{1,200}+/)(?P<value>[^\s@'\"]++)")
_CONNECTION = pattern(
    r"\s*+(?:server|data source|host|endpoint|defaultendpointsprotocol|accountname|driver|provider|user ?id|uid|user|database"
    r"|initial catalog|addr|address|network address|blobendpoint)\s*+=[^;\n]*+(?:;[^;=\n]*+=[^;\n]*+)++;?\s*+",
    re.IGNORECASE,
)
"""A connection string of a database or cloud driver: `Server=...;Password=...;`."""


def known_token(text: str) -> bool:
    """Returns whether a text contains a private key, or a token with a known prefix."""
    return _OPENING.search(text) is not None or _TOKEN.search(text) is not None


def hide_keys(text: str, hide: Hide) -> str:
    """Masks the content of private keys; a key without an end extends to the end of the text."""
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
    """Masks the values of JSON members with secret names."""

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
    """Masks passwords before an `@` in URLs, and tokens and signatures in their parameters."""
    if "://" not in text:
        return text
    return _HOOK.sub(_without(hide), _URL.sub(lambda found: "://" + _url(found["rest"], hide, named), text))


def hide_logins(text: str, hide: Hide) -> str:
    """Masks passwords in URLs with characters at which a shell would split the URL."""
    return _LOGIN.sub(lambda found: found["head"] + hide(found["value"]), text) if "://" in text and "@" in text else text


def _url(rest: str, hide: Hide, named: Named) -> str:
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    at = authority.rfind("@")
    if at >= 0 and _DIGEST.match(rest, at + 1) is not None:
        at = -1  # `docker://app:1@sha256:...`
    elif at < 0 and re.match(r"[^:/?#@]*+:(?![0-9]{1,5}(?:[/?#]|$))", rest):
        at = rest.rfind("@")  # a password with a slash that should be %2F, and not a port
    head = ""
    if at >= 0:
        user, colon, password = rest[:at].partition(":")
        if colon:
            head = f"{user}:{hide(password)}@" if password else f"{user}:@"
        else:
            head = f"{hide(user)}@" if len(user) >= 16 else f"{user}@"  # a token instead of a user name
        rest = rest[at + 1 :]

    def parameter(found: re.Match[str]) -> str:
        return found["head"] + hide(found["value"]) if named(found["name"]) else found[0]

    return head + _PARAMETER.sub(parameter, rest)


def hide_anywhere(text: str, hide: Hide, named: Named = secret_name) -> str:
    """Masks everything that the functions of this module find anywhere in a text, and values assigned to secret names."""

    def assigned(found: re.Match[str]) -> str:
        word = found["value"]
        if not named(found["name"]):
            return found[0]
        quote = word[0] if word[0] in "\"'" else ""
        return found["head"] + quote + hide(word.strip(quote) if quote else word) + quote

    text = hide_keys(text, hide)
    text = hide_members(text, hide, named)
    text = hide_elements(text, hide, named)
    text = hide_urls(text, hide)
    text = _BEARER.sub(_without(hide), text)
    text = hide_spoken(text, hide)
    if "=" in text:
        text = _ASSIGNED.sub(assigned, text)
    return hide_tokens(text, hide)


def _without(hide: Hide) -> Callable[[re.Match[str]], str]:
    return lambda found: found["head"] + hide(found["value"]) + (found.groupdict().get("tail") or "")


def hide_whole(text: str, hide: Hide) -> str:
    """Masks the secret in a text that is only a token with its scheme, or only the address of a database."""
    found = _WHOLE.fullmatch(text)
    if found is None or (not found["tail"].startswith("@") and found["head"].strip().lower() != "bearer"):
        return text
    return found["head"] + hide(found["value"]) + found["tail"]


def hide_spoken(text: str, hide: Hide) -> str:
    """Masks passwords in SQL, in `.netrc`, and in Oracle addresses."""
    lower = text.lower()
    if "password" in lower or "identified" in lower:
        text = _SQL.sub(_without(hide), _NETRC.sub(_without(hide), text))
    return _ORACLE.sub(_without(hide), text) if "jdbc:oracle" in text else text


def is_connection(text: str) -> bool:
    """Returns whether a text is a connection string of a database or cloud driver."""
    return _CONNECTION.fullmatch(text) is not None


def hide_connection(text: str, hide: Hide, named: Named = secret_name) -> str:
    """Masks the secrets in a connection string; a value extends to the next semicolon."""
    shown = []
    for part in text.split(";"):
        name, _, value = part.partition("=")
        secret = named(name.strip()) or name.strip().lower() == "pwd"
        shown.append(f"{name}={hide(value)}" if secret and value else hide_anywhere(part, hide, named))
    return ";".join(shown)


def hide_lines(text: str, hide: Hide, named: Named = secret_name) -> str:
    """Masks the values of secret names at the start of lines, as in YAML, properties and headers: to the end of the line,
    and the indented lines below. Lines that may be shell commands are left for `lines`."""
    if "\n" not in text and ":" not in text:
        return text
    shown: list[str] = []
    inside: int | None = None
    for line in text.split("\n"):
        if inside is not None:
            indent = len(line) - len(line.lstrip(" \t"))
            if line.strip() and (indent > inside or (indent == inside and line.lstrip().startswith("- "))):
                shown.append(line[:indent] + ("- " if line[indent:].startswith("- ") else ""))
                shown[-1] += hide(line[len(shown[-1]) :])
                continue
            inside = None if line.strip() else inside
        found = _LINE.fullmatch(line)
        if found is None or not named(found["name"]):
            shown.append(line)
        elif not found["value"].strip() or _BLOCK.fullmatch(found["value"]):
            inside = len(found["indent"])
            shown.append(line)
        elif "=" in found["head"] and ("\n" not in text or _RUNS.search(found["value"])):
            shown.append(line)
        else:
            value = found["value"].rstrip()
            quote = value[0] if len(value) > 1 and value[0] in "\"'" and value.endswith(value[0]) else ""
            shown.append(found["head"] + quote + hide(value[len(quote) : len(value) - len(quote)]) + quote)
    return "\n".join(shown)


def hide_flow(text: str, hide: Hide, named: Named = secret_name) -> str:
    """Masks the values of secret names in text like JSON with unquoted names."""

    def member(found: re.Match[str]) -> str:
        value = found["value"].strip()
        quote = value[0] if len(value) > 1 and value[0] in "\"'" and value.endswith(value[0]) else ""
        inner = value[len(quote) : len(value) - len(quote)]
        return found["head"] + quote + hide(inner) + quote if named(found["name"]) and inner else found[0]

    return _FLOW.sub(member, text)


def hide_elements(text: str, hide: Hide, named: Named = secret_name) -> str:
    """Masks the content of XML elements and attributes with secret names."""
    if "<" not in text:
        return text

    def value(found: re.Match[str]) -> str:
        return found["head"] + hide(found["value"]) if named(found["name"]) else found[0]

    return _NAMED_VALUE.sub(value, _ELEMENT.sub(value, text))


def hide_tokens(text: str, hide: Hide) -> str:
    """Masks tokens with a known prefix."""
    return _TOKEN.sub(lambda found: hide(found[0]), text)
