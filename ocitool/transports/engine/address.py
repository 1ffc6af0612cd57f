"""Which engine is meant, chosen as the docker client chooses it.

In this order: `--host`, `--context`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context of docker's `config.json`, the local
socket. `--host` and `DOCKER_HOST` take their TLS settings from `DOCKER_TLS_VERIFY`, `DOCKER_TLS` and `DOCKER_CERT_PATH`, a
context has its own. docker-py reads contexts too, but takes one whose file does not say so as one that is not to be verified.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ocitool import limits
from ocitool.blob import unopened
from ocitool.errors import FormatError, NotFoundError, UsageError
from ocitool.spec.document import parse_object

if TYPE_CHECKING:
    from ocitool.transports.engine import EngineOptions

SOCKET = "/var/run/docker.sock"
DEFAULT_CONTEXT = "default"
PLAIN_PORT, TLS_PORT = 2375, 2376


class TlsFiles(NamedTuple):
    """The paths of PEM files: the authorities to believe (None: the system's), our certificate and its key. If not `verify`,
    any certificate of the engine is taken."""

    ca: str | None
    cert: str | None
    key: str | None
    verify: bool


class EngineAddress(NamedTuple):
    """The address of an engine. `scheme`: `unix`, `tcp` or `ssh`. `path`: of the socket, or below which the API is. `user`,
    `host`, `port`: of the others. `tls` is None for a connection without TLS. `chosen_by`: what named it, for messages."""

    scheme: str
    path: str
    user: str | None
    host: str
    port: int | None
    tls: TlsFiles | None
    chosen_by: str

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}{f':{self.port}' if self.port else ''}{self.path}"


def find(options: EngineOptions, environ: Mapping[str, str] = os.environ) -> EngineAddress:
    """Returns the engine that the options, the environment and the docker client's configuration name.

    Raises `UsageError` for an address that is none, `NotFoundError` for a context or certificate that does not exist, and
    `FormatError` for a context that cannot be read.
    """
    if options.host is not None and options.context is not None:
        raise UsageError("--host and --context both name an engine", hint="give one of them")
    directory = environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    if options.host is not None:
        return _by_environment(options.host, "--host", environ, directory)
    if options.context is not None:
        return _context(options.context, "--context", environ, directory)
    if environ.get("DOCKER_HOST"):
        return _by_environment(environ["DOCKER_HOST"], "DOCKER_HOST", environ, directory)
    if environ.get("DOCKER_CONTEXT"):
        return _context(environ["DOCKER_CONTEXT"], "DOCKER_CONTEXT", environ, directory)
    config = os.path.join(directory, "config.json")
    current = _document(config, missing={}).get("currentContext")
    if isinstance(current, str) and current:
        return _context(current, config, environ, directory)
    return _by_environment(f"unix://{SOCKET}", "the default", environ, directory)


def parse_address(text: str, chosen_by: str, tls: TlsFiles | None = None) -> EngineAddress:
    """Returns the address of `unix:///PATH`, `tcp://HOST[:PORT]`, `ssh://[USER@]HOST[:PORT]`, or `HOST[:PORT]`, which is TCP.
    The port of TCP is 2376 with TLS, else 2375. Raises `UsageError`."""
    text = text.strip() or f"unix://{SOCKET}"
    scheme, colon, rest = text.partition("://")
    if not colon:
        scheme, rest = "tcp", text
    scheme = {"http": "tcp", "https": "tcp", "http+unix": "unix"}.get(scheme, scheme)
    if text.startswith("https://") and tls is None:
        tls = TlsFiles(None, None, None, verify=True)
    if scheme == "unix":
        return EngineAddress("unix", f"/{rest.lstrip('/')}" if rest else SOCKET, None, "", None, None, chosen_by)
    if scheme not in ("tcp", "ssh"):
        raise UsageError(
            f"invalid address of an engine: {text}", chosen_by, hint="unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST"
        )
    found = _AUTHORITY.fullmatch(rest)
    if found is None:
        raise UsageError(f"invalid address of an engine: {text}", chosen_by, hint=f"{scheme}://HOST[:PORT], without a password")
    user, host, port, path = found["user"], found["six"] or found["host"] or "localhost", found["port"], found["path"]
    number = int(port) if port else None
    if (number is not None and not 0 < number < 1 << 16) or (user and scheme == "tcp") or (path.strip("/") and scheme == "ssh"):
        raise UsageError(f"invalid address of an engine: {text}", chosen_by)
    if scheme == "ssh":
        return EngineAddress("ssh", "", user, host, number, None, chosen_by)
    return EngineAddress("tcp", path.rstrip("/"), None, host, number or (TLS_PORT if tls else PLAIN_PORT), tls, chosen_by)


# The first character is not a hyphen: ssh would take the name for an option.
_AUTHORITY = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_.+][A-Za-z0-9_.+-]*)@)?(?:\[(?P<six>[0-9a-fA-F:.]+(?:%[A-Za-z0-9._-]+)?)\]|(?P<host>[A-Za-z0-9_.][A-Za-z0-9_.-]*))?"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9_.~-]*)*)"
)


def _by_environment(address: str, chosen_by: str, environ: Mapping[str, str], directory: str) -> EngineAddress:
    """Returns an address with the TLS settings of the environment, as the docker client has them: verified if
    `DOCKER_TLS_VERIFY` is set, whatever it says; unverified if only `DOCKER_TLS` is. Our certificate may be missing."""
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if not verify and not environ.get("DOCKER_TLS"):
        return parse_address(address, chosen_by)
    certificates = environ.get("DOCKER_CERT_PATH") or directory
    ca, cert, key = (os.path.join(certificates, name) for name in ("ca.pem", "cert.pem", "key.pem"))
    if verify and not os.path.exists(ca) and parse_address(address, chosen_by).scheme == "tcp":
        raise NotFoundError(
            "no such file: the authority that the engine's certificate is checked with", ca,
            hint="DOCKER_CERT_PATH names the directory of ca.pem, cert.pem and key.pem",
        )  # fmt: skip
    own = os.path.exists(cert) and os.path.exists(key)
    files = TlsFiles(ca if os.path.exists(ca) else None, cert if own else None, key if own else None, verify)
    return parse_address(address, chosen_by, files)


def _context(name: str, chosen_by: str, environ: Mapping[str, str], directory: str) -> EngineAddress:
    """Returns the address that a context has, as `docker context` stores it: a directory named by the hash of its name."""
    if name == DEFAULT_CONTEXT:
        host = environ.get("DOCKER_HOST") or f"unix://{SOCKET}"
        return _by_environment(host, "the default context", environ, directory)
    folder = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    path = os.path.join(directory, "contexts", "meta", folder, "meta.json")
    if not os.path.exists(path):
        raise NotFoundError(f"no such context: {name}", chosen_by, hint="docker context ls lists them")
    endpoints = _document(path).get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    address = docker.get("Host") if isinstance(docker, dict) else None
    if not isinstance(docker, dict) or not isinstance(address, str) or not address:
        raise FormatError(f"the context {name} has no address of an engine", path)
    skips = docker.get("SkipTLSVerify") is True
    stored = os.path.join(directory, "contexts", "tls", folder, "docker")
    files = (os.path.join(stored, name) for name in ("ca.pem", "cert.pem", "key.pem"))
    own = [file if os.path.exists(file) else None for file in files]
    tls = TlsFiles(own[0], own[1], own[2], verify=not skips) if skips or any(own) else None
    return parse_address(address, f"the context {name}", tls)


def _document(path: str, missing: dict[str, Any] | None = None) -> Mapping[str, Any]:
    try:
        with open(path, "rb") as file:
            raw = file.read(limits.DOCUMENT_SIZE + 1)
    except FileNotFoundError as error:
        if missing is not None:
            return missing
        raise unopened(path, error) from None
    except OSError as error:
        raise unopened(path, error) from None
    return parse_object(raw, path)
