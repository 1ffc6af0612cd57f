"""The options of registries, which every command has that takes a REF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ocitool import reference
from ocitool.cli.options import Host
from ocitool.errors import UsageError
from ocitool.transports.registry import Access

__all__ = ["OPTIONS", "Access", "of"]

_Text = str | None
OPTIONS: dict[str, tuple[Any, Any]] = {
    "insecure": (
        Annotated[bool, typer.Option("--insecure", help="The registry may have no TLS, or a certificate nobody vouches for.")],
        False,
    ),
    "insecure_host": (
        Annotated[list[str] | None, typer.Option("--insecure-host", metavar="HOST", help="As --insecure, for this host.")],
        None,
    ),
    "ca": (Annotated[_Text, typer.Option("--ca", metavar="FILE", help="Authorities to believe too, as PEM.")], None),
    "realm": (
        Annotated[
            list[str] | None,
            typer.Option("--realm", metavar="HOST", help="Send credentials to this host only: the registry's token server."),
        ],
        None,
    ),
    "private_host": (
        Annotated[
            list[str] | None,
            typer.Option("--private-host", metavar="HOST", help="A registry may send us there, at a private address too."),
        ],
        None,
    ),
    "cert": (Annotated[_Text, typer.Option("--cert", metavar="FILE", help="Our certificate for the registry.")], None),
    "key": (Annotated[_Text, typer.Option("--key", metavar="FILE", help="The key of --cert, where it is not in it.")], None),
    "authfile": (
        Annotated[
            _Text,
            typer.Option("--authfile", metavar="FILE", help="Credentials. Default: REGISTRY_AUTH_FILE, podman's, docker's."),
        ],
        None,
    ),
    "foreign": (
        Annotated[bool, typer.Option("--foreign", help="Fetch layers from the URLs they name, where the registry lacks them.")],
        False,
    ),
}


def of(asked: dict[str, Any], given: dict[str, Any]) -> Access:
    """What the options say of registries. `given`: all other options and arguments, among which are references."""
    insecure = set(map(reference.host_name, asked["insecure_host"] or ()))
    if asked["insecure"]:
        found = (word if isinstance(word, Host) else reference.host_of(word) for word in _words(given))
        hosts = {host for host in found if host is not None}
        if len(hosts) > 1:
            raise UsageError(
                f"--insecure, and the command names {len(hosts)} registries", ", ".join(sorted(hosts)),
                hint="--insecure-host HOST says which one",
            )  # fmt: skip
        insecure |= hosts
    realms, private = (tuple(map(reference.host_name, asked[name] or ())) for name in ("realm", "private_host"))
    return Access(
        frozenset(insecure), asked["ca"], asked["cert"], asked["key"], asked["authfile"], asked["foreign"], realms, private
    )


def _words(given: dict[str, Any]) -> Iterator[str]:
    """Everything that may be a reference."""
    for value in given.values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (one for one in value if isinstance(one, str))
