"""Tables of commands that take a password without a telling name: in a short option, as an argument, on standard input."""

from __future__ import annotations

import re
from typing import NamedTuple

from ocitool.patterns import pattern

SECRET, APART, USER, LOGIN, HEADER, COOKIE, PROXY, LIST, SCRIPT = (
    "secret", "apart", "user", "login", "header", "cookie", "proxy", "list", "script",
)  # fmt: skip
"""Kinds of words. `APART`: a secret that is always a separate word from its option. `USER`: `user:password`. `LOGIN`:
`user/password@place`. `PROXY`: a URL whose scheme may be left out. `LIST`: `a=b,c=d`. `SCRIPT`: a shell command."""


class Position(NamedTuple):
    """The argument that is a secret: the `number`th after the command, or after the subcommand if one is given, without
    options; 0: all of them."""

    subcommand: re.Pattern[str] | None
    number: int
    kind: str = SECRET


def _options(*names: str, **kinds: str) -> dict[str, dict[str, str]]:
    return {name: {"-" + option: kind for option, kind in kinds.items()} for name in names}


OPTIONS: dict[str, dict[str, str]] = {
    "curl": {"-u": USER, "--user": USER, "-U": USER, "--proxy-user": USER, "-H": HEADER, "-b": COOKIE, "--cookie": COOKIE,
             "-x": PROXY, "--proxy": PROXY, "-E": USER, "--cert": USER},
    "http": {"-a": USER, "--auth": USER},
    "https": {"-a": USER, "--auth": USER},
    "lftp": {"-u": USER},
    "smbclient": {"-U": USER},
    "mount": {"-o": LIST},
    "mount.cifs": {"-o": LIST},
    "helm": {"--set": LIST, "--set-string": LIST},
    "ansible-playbook": {"-e": SCRIPT, "--extra-vars": SCRIPT},
    "ansible": {"-e": SCRIPT, "--extra-vars": SCRIPT},
    "openssl": {"-k": APART, "-K": APART},
    **_options("useradd", "usermod", "twine", "ncftpput", "ncftpget", p=APART),
    "nuget": {"-p": APART, "-Password": APART}, "ssh-keygen": {"-N": SECRET, "-P": SECRET},
    **_options("sshpass", "login", "7z", "7za", "7zr", "rar", "unrar", p=SECRET),
    **_options("mysql", "mysqldump", "mysqladmin", "mysqlimport", "mariadb", "mariadb-dump", "mariadb-admin", p=SECRET),
    **_options("mongo", "mongosh", "mongodump", "mongorestore", "mongoimport", "mongoexport", p=SECRET),
    **_options("ldapsearch", "ldapadd", "ldapmodify", "ldappasswd", "ldapdelete", w=SECRET),
    **_options("ab", "hey", "wrk", "xh", H=HEADER),
    **_options("redis-cli", a=SECRET),
    **_options("snmpwalk", "snmpget", "snmpset", A=SECRET, X=SECRET),
    **_options("ipmitool", P=SECRET),
    **_options("cqlsh", p=SECRET),
    **_options("doctl", t=SECRET),
    **_options("sqlcmd", "bcp", "unzip", "zip", P=SECRET),
    **_options("convertto-securestring", String=APART),
}  # fmt: skip
"""Kinds of option values by command. `login` is the subcommand of docker, podman, skopeo, helm and others."""

ANYWHERE = {"--header": HEADER}
"""Kinds of option values of any command."""

POSITIONS: dict[str, tuple[Position, ...]] = {
    "htpasswd": (Position(None, 3),),
    "rabbitmqctl": (Position(pattern(r"add_user|change_password|authenticate_user"), 2),),
    "vault": (Position(pattern("login"), 1),),
    "mysqladmin": (Position(pattern("password"), 1),),
    "mariadb-admin": (Position(pattern("password"), 1),),
    "openssl": (Position(pattern("passwd"), 1),),
    "net": (Position(pattern("user"), 2),),
    "composer": (
        Position(pattern(r"http-basic\..*"), 2),
        Position(pattern(r"(?:github|gitlab|bitbucket)-(?:oauth|token)\..*|bearer\..*"), 1),
    ),
    "bundle": (Position(pattern("config"), 0, USER),),
    "sqlplus": (Position(None, 1, LOGIN),),
    "sqlldr": (Position(None, 1, LOGIN),),
    "expdp": (Position(None, 1, LOGIN),),
    "impdp": (Position(None, 1, LOGIN),),
    "grafana": (Position(pattern("reset-admin-password"), 1),),
    "grafana-cli": (Position(pattern("reset-admin-password"), 1),),
    "neo4j-admin": (Position(pattern("set-initial-password"), 1),),
    "cargo": (Position(pattern("login"), 1),),
    "poetry": (Position(pattern(r"http-basic\..*"), 2), Position(pattern(r"pypi-token\..*"), 1)),
    "nmcli": (Position(pattern("password"), 1),),
    "rclone": (Position(pattern("pass|password|token|client_secret|secret_access_key"), 1),),
    "mkpasswd": (Position(None, 1),),
    "wpa_passphrase": (Position(None, 2),),
    "ngrok": (Position(pattern("authtoken|add-authtoken"), 1),),
    "snyk": (Position(pattern("auth"), 1),),
    "mc": (Position(pattern("set|add"), 4),),
    "convertto-securestring": (Position(None, 1),),
}

VALUED: dict[str, frozenset[str]] = {
    "htpasswd": frozenset(["-C", "-r"]),
    "mkpasswd": frozenset(["-m", "--method", "-S", "-R", "--rounds"]),
    "openssl": frozenset(["-in", "-rand", "-writerand"]),
    "cargo": frozenset(["--registry", "--config"]),
    "vault": frozenset(["-method", "-path", "-address"]),
}
"""Options of the commands in `POSITIONS` whose value is a separate word, which is not counted as an argument."""

STDIN = frozenset(
    ["--password-stdin", "--with-token", "--stdin", "--passphrase-fd", "passwd", "chpasswd", "smbpasswd", "kinit"]
)
"""Words in commands that read a password, and nothing else, from standard input."""

CLUSTER = pattern(r"-(?:[0-9#fgiIjJklLnNOqRsSvZ]*+)(?=[uUHbxE])")
"""Options of curl without a value that are in one word with an option that has a value."""
