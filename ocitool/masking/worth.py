"""Decides whether a value can hold a secret at all. Most values cannot, and then no other module of this package is
imported."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ocitool.patterns import pattern

AFTER = "after the instruction "
"""The words before an instruction in ocitool's own sentences."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_WORDS = _words("""
    pass pwd pw secret tok cred key jwt salt dsn pin psk sas otp cookie webhook conn netrc bearer identified private
    @tcp( @unix( whsec_ _oat_ pscale_tkn_
    hooks. gho_ ghp_ ghr_ ghs_ ghu_ _pat_ rk_ sk_ hf_ npm_ akia asia abia acca glsa_ xox xapp xkeysib nrak pypi aiza sq0 hvs.
    hvb. hvr. sg. ya29 eyj shp doo_v1 dop_v1 dor_v1 lin_api atatt sntry rubygems curl mysql mariadb login mongo redis ldap
    sqlcmd zip lftp smbclient mount helm ansible openssl useradd usermod twine ncftp nuget rabbitmqctl vault composer bundle
    cargo poetry nmcli rclone grafana neo4j cqlsh ipmitool snmp doctl
    psw mnemonic hmac pepper unseal kennwort senha contrase wachtwoord phrase session kubeconfig dockerconfig code
    gr1348941 gocspx dapi .atlasv1. ntn_ figd_ pmak- nrii- glc_ atbb atctt hrku- fo1_ fm1 fm2_ sbp_ sb_ pscale_ ccipat
    bkua_ bkct_ ltai akid pul- cfpat sgp_ gsk_ xai- pplx- akcp cmvmdgtuoja tfp_ rdme_ pnu_ nfp_ vercel_ phx_ absk tvly-
    nvapi- tgp_v1_ apify_api_ dt0c01. r8_
    sqlplus sqlldr signature --stdin securestring expdp impdp ngrok snyk kinit sudo bcp jdbc
""")
"""A text without any of these, without a match of `_PLACED` and without a URL has no secret."""
_PLACED = {
    "auth": pattern(r"auth(?!ors?\b)"),
    "http": pattern(r"(?<![a-z])http(?!s?:)"),
    "pat": pattern(r"[Pp]at(?![a-z])|PAT(?![A-Z](?![a-z]))|pat[A-Za-z0-9]{14}\."),
    "-us": pattern(r"[0-9a-f]{32}-us[0-9]"),
    ":aa": pattern(r"[0-9]{8,10}:aa"),
    "q~": pattern(r"[0-9]q~"),
    "sl.": pattern(r"(?<![a-z0-9])sl\.[a-z0-9_-]{40}"),
    "dp.": pattern(r"(?<![a-z0-9])dp\.[a-z.]{2,20}\."),
    "sig": pattern(r"sig(?![a-z])"),
    "net": pattern(r"net\b"),
    "mc": pattern(r"mc\b"),
    "7z": pattern(r"(?<![0-9])7z"),
    "rar": pattern(r"(?<![a-z])(?:un)?rar(?![a-z])"),
    "sk-": pattern(r"(?<![a-z0-9])sk-"),
    "ab": pattern(r"(?<![a-z])ab(?![a-z])"),
    "hey": pattern(r"(?<![a-z])hey(?![a-z])"),
    "wrk": pattern(r"(?<![a-z])wrk(?![a-z])"),
    "xh": pattern(r"(?<![a-z])xh(?![a-z])"),
    "gl": pattern(r"gl[a-z]{2,5}-"),
}
"""Words that indicate a secret only in some contexts, in lower case or as they are written (`githubPatOld`). A pattern is
used, and compiled, only if its word occurs: compiling all of them takes as long as reading an image."""
_IN_A_URL = pattern(r"[@?&;#]")


def worth(text: str) -> bool:
    """Returns whether a text contains a word or URL that may indicate a secret."""
    return _short_worth(text) if len(text) <= _SHORT else _long_worth(text)


_SHORT = 200
"""Most characters of a text that is cached for long: names and instructions occur again and again."""


def _worth(text: str) -> bool:
    folded = text.casefold()
    if any(map(folded.__contains__, _WORDS)):
        return True
    if any(word in folded and (placed.search(folded) or placed.search(text)) for word, placed in _PLACED.items()):
        return True
    url = folded.find("://")
    return url >= 0 and _IN_A_URL.search(folded, url) is not None


_short_worth = lru_cache(4096)(_worth)
_long_worth = lru_cache(8)(_worth)
"""A few long texts are cached too: a document with an annotation of megabytes may be listed thousands of times."""


def may_hold(value: Any, name: str = "") -> bool:
    """Returns whether a JSON value, or the name of its key, may hold a secret."""
    if isinstance(value, str):
        return worth(value) or worth(name)
    if isinstance(value, dict):
        return may_hold(name) or any(may_hold(item, str(key)) for key, item in value.items())
    if isinstance(value, list):
        return may_hold(name) or any(may_hold(item) for item in value)
    return may_hold(name)
