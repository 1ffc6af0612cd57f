"""The registry options, which every command that takes a REF has."""

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
        Annotated[bool, typer.Option("--insecure", help="Allow a registry without TLS, or with an untrusted certificate.")],
        False,
    ),
    "insecure_host": (
        Annotated[list[str] | None, typer.Option("--insecure-host", metavar="HOST", help="The same, for this host only.")],
        None,
    ),
    "ca": (
        Annotated[_Text, typer.Option("--ca", metavar="FILE", help="Certificates of further authorities to trust, in PEM.")],
        None,
    ),
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
            typer.Option("--private-host", metavar="HOST", help="Follow redirects to this host, even at a private address."),
        ],
        None,
    ),
    "cert": (Annotated[_Text, typer.Option("--cert", metavar="FILE", help="Client certificate for the registry.")], None),
    "key": (Annotated[_Text, typer.Option("--key", metavar="FILE", help="The key of --cert, if it is in another file.")], None),
    "authfile": (
        Annotated[
            _Text,
            typer.Option(
                "--authfile", metavar="FILE", help="File of credentials. Default: REGISTRY_AUTH_FILE, podman's, docker's."
            ),
        ],
        None,
    ),
    "foreign": (
        Annotated[bool, typer.Option("--foreign", help="Fetch layers from the URLs they name, if the registry lacks them.")],
        False,
    ),
}


def of(values: dict[str, Any], arguments: dict[str, Any]) -> Access:
    """Returns how registries are accessed. `values`: those of these options, by name. `arguments`: all other options and
    arguments, among which are the references that `--insecure` concerns. Raises `UsageError`."""
    insecure = set(map(reference.host_name, values["insecure_host"] or ()))
    if values["insecure"]:
        found = (text if isinstance(text, Host) else reference.host_of(text) for text in _texts(arguments))
        hosts = {host for host in found if host is not None}
        if len(hosts) > 1:
            raise UsageError(
                f"--insecure, and the command names {len(hosts)} registries", ", ".join(sorted(hosts)),
                hint="--insecure-host HOST says which one",
            )  # fmt: skip
        insecure |= hosts
    realms, private = (tuple(map(reference.host_name, values[name] or ())) for name in ("realm", "private_host"))
    return Access(
        frozenset(insecure), values["ca"], values["cert"], values["key"], values["authfile"], values["foreign"], realms, private
    )


def _texts(arguments: dict[str, Any]) -> Iterator[str]:
    """Yields all strings among the arguments, since each may be a reference."""
    for value in arguments.values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (one for one in value if isinstance(one, str))
