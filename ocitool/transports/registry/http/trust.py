"""TLS contexts: which certificate authorities are trusted for a host, and which client certificate is used.

Authorities for every host: those of the system, in whose place `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as for
OpenSSL, and those of certifi unless one of these variables is set. If `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE` is set,
only those that variables name.

In addition, for the registry alone: `--ca`. For one host: the `*.crt` in its directory below the first `certs.d` that
has one, as in docker and containers-certs.d(5); and for the registry a `*.cert` with its `*.key`, unless `--cert` names
another.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import certifi

from ocitool import limits
from ocitool.blob import unopened
from ocitool.errors import FormatError, UsageError
from ocitool.reference import DEFAULT_HOST
from ocitool.task import OneAtATime, Task
from ocitool.transports.registry.access import Access

SYSTEM_CERTS_D = ("/etc/containers/certs.d", "/etc/docker/certs.d")
"""Parents of the directories of hosts, searched after those of the user."""
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
)  # fmt: skip
"""Files of certificate authorities on several systems; the OpenSSL of a Python build may look elsewhere."""
_REHASHED_NAME = re.compile(r"[0-9a-f]{8}\.\d+")
"""File names by which OpenSSL finds an authority in a directory."""


class DefaultTrust:
    """The context with the authorities for every host and no client certificate, shared by all hosts that need no
    other. It is made when it is first needed, once: reading the authorities takes a quarter of the time of a short
    command."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._turns = OneAtATime(task)
        self._made: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        with self._turns.turn(""):
            if self._made is None:
                made = _new_context()
                _load_default_authorities(made, self.warn)
                self._made = made
            return self._made

    def warn(self, text: str) -> None:
        self._task.notice("certificates", text)


class Trust:
    """The TLS contexts of a registry's connections. Each is made when the first connection to its host is opened, and
    complete before another thread uses it. `own`: for the registry itself; else for the hosts that it refers to,
    without the certificates that the user gave."""

    def __init__(self, task: Task, access: Access, registry: str, default: DefaultTrust, *, insecure: bool, own: bool) -> None:
        self._default = default
        self._access = access if own else Access()
        self._registry = registry if own else None
        self._insecure = insecure
        self._turns = OneAtATime(task)
        self._contexts: dict[str, ssl.SSLContext | None] = {}
        if self._access.key is not None and self._access.cert is None:
            raise UsageError("--key needs --cert")
        if self._access.ca is not None or self._access.cert is not None:
            self.context(registry)  # errors in these files are raised before anything is sent

    def context(self, host: str) -> ssl.SSLContext:
        """Returns the context for a host, in the form of `addresses.host_of`. Raises `NotFoundError` and `FormatError`
        for a file that cannot be used."""
        host = self._registry or host
        with self._turns.turn(host):
            if host not in self._contexts:
                self._contexts[host] = self._host_context(host)
            found = self._contexts[host]
        return found if found is not None else self._default.context()

    def proxy_context(self) -> ssl.SSLContext:
        """Returns the context for a proxy: the authorities for every host, and no client certificate."""
        return self._default.context()

    def _host_context(self, host: str) -> ssl.SSLContext | None:
        """Returns a new context; None if the default one is right. If nothing is verified no authorities are loaded."""
        access, warn = self._access, self._default.warn
        certificates = host_certificates(host, warn, pairs=self._registry is not None and access.cert is None)
        if not self._insecure and not any(certificates) and access.ca is None and access.cert is None:
            return None
        context = _new_context()
        if self._insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        else:
            _load_default_authorities(context, warn)
            for path, raw in certificates.authorities:
                with _readable(path):
                    # Text around the certificates may be in any encoding; the certificates themselves are ASCII.
                    context.load_verify_locations(cadata=raw.decode("ascii", "ignore") if b"-----BEGIN" in raw else raw)
        if access.ca is not None:
            with _certificates(access.ca):
                context.load_verify_locations(access.ca)
        if access.cert is not None:
            with _certificates(access.cert, access.key):
                context.load_cert_chain(access.cert, access.key, password=lambda: "")
        for cert, key in certificates.pairs:
            with _readable(cert, "a certificate and a key that cannot be read or do not belong together"):
                context.load_cert_chain(cert, key, password=lambda: "")
        return context


def _new_context() -> ssl.SSLContext:
    """Returns a context that verifies certificates and host names, without any authority yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.post_handshake_auth = True  # some servers request a client certificate after they received the request
    context.set_alpn_protocols(["http/1.1"])
    if sys.version_info >= (3, 13):  # as `ssl.create_default_context` does there
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    if os.environ.get("SSLKEYLOGFILE"):
        context.keylog_filename = os.environ["SSLKEYLOGFILE"]
    return context


class HostCertificates(NamedTuple):
    """`authorities`: files and their contents. `pairs`: files of a client certificate and its key."""

    authorities: list[tuple[str, bytes]]
    pairs: list[tuple[str, str]]


def host_certificates(host: str, warn: Callable[[str], None], *, pairs: bool) -> HostCertificates:
    """Returns the certificates in the first directory for a host ("certs.d" of docker). Files that cannot be read, or
    belong to another user than root and the current one, are left out, with a call of `warn`. Raises `FormatError` if a
    certificate or key lacks its counterpart."""
    found = HostCertificates([], [])
    directory, names = _certs_d(host, warn)
    for name in names:
        path = os.path.join(directory, name)
        if name.endswith(".crt"):
            raw = _read_trusted(path, warn)
            found.authorities.extend([(path, raw)] if raw is not None else [])
        elif pairs and name.endswith((".cert", ".key")):
            other = name[:-4] + "key" if name.endswith(".cert") else name[:-3] + "cert"
            if other not in names:
                raise FormatError(
                    f"{other} is missing beside it", path, hint="X.cert and X.key are for the client, X.crt is for an authority"
                )  # fmt: skip
            beside = os.path.join(directory, other)
            if name.endswith(".cert") and _read_trusted(path, warn) is not None and _read_trusted(beside, warn) is not None:
                found.pairs.append((path, beside))
    return found


def _certs_d(host: str, warn: Callable[[str], None]) -> tuple[str, list[str]]:
    """Returns the first directory for a host that exists, and the names in it."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    places = [os.path.join(config, tool, "certs.d") for tool in ("containers", "docker")]
    hosts = ("docker.io", "registry-1.docker.io", "index.docker.io") if host == DEFAULT_HOST else (host,)
    for place in (*places, *SYSTEM_CERTS_D):
        for name in hosts:
            directory = os.path.join(place, name)
            if name in ("", ".", "..") or "/" in name or "\0" in name:
                continue
            try:
                return directory, sorted(os.listdir(directory))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                warn(f"{directory} is not used: {error.strerror}")
    return "", []


def _read_trusted(path: str, warn: Callable[[str], None]) -> bytes | None:
    """Returns the bytes of a certificate or key file; None, after a call of `warn`, if it is not used."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_uid in (0, os.geteuid()):
                return file.read(limits.DOCUMENT_SIZE)
            reason = "it belongs to another user"
    except OSError as error:
        reason = str(error.strerror)
    warn(f"{path} is not used: {reason}")
    return None


def _load_default_authorities(context: ssl.SSLContext, warn: Callable[[str], None]) -> None:
    """Loads the authorities for every host. Calls `warn` for a variable that names no usable file."""
    file = os.environ.get("SSL_CERT_FILE", "")
    directories = [path for path in os.environ.get("SSL_CERT_DIR", "").split(":") if path]
    for name, paths in (("SSL_CERT_FILE", [file] if file else []), ("SSL_CERT_DIR", directories)):
        missing = [path for path in paths if not os.path.exists(path)]
        if missing:
            warn(f"{name} names a missing file: {', '.join(missing)}")
    if file and os.path.exists(file) and not _has_pem(file):  # OpenSSL and Go ignore such a file silently
        warn(f"SSL_CERT_FILE names a file without a PEM certificate: {file}")
        file = ""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    named = list(filter(os.path.exists, directories))
    if bundle:
        # Files of the other two variables are loaded too: machines set all of them, users often one.
        # Authorities of the system are not.
        named = [bundle, *filter(os.path.exists, (file,)), *named]
    else:
        context.set_default_verify_paths()
        defaults = ssl.get_default_verify_paths()
        store = next(filter(os.path.isfile, _SYSTEM_BUNDLES), None)
        if defaults.cafile is None and defaults.capath is None and store is not None:
            _load(context, store)
        if not os.environ.get("SSL_CERT_FILE") and not directories:
            _load(context, certifi.where())
    for path in dict.fromkeys(named):
        _load(context, path)


def _has_pem(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"CERTIFICATE-----" in file.read(limits.DOCUMENT_SIZE)
    except OSError:
        return False


def _load(context: ssl.SSLContext, place: str) -> None:
    if os.path.isdir(place):
        context.load_verify_locations(capath=place)
        _load_unhashed(context, place)
    else:
        with _certificates(place):
            context.load_verify_locations(cafile=place)


def _load_unhashed(context: ssl.SSLContext, directory: str) -> None:
    """Loads every file of a directory without names of `openssl rehash`: OpenSSL reads only such names, Go reads any."""
    with suppress(OSError):
        names = sorted(os.listdir(directory))
        if any(map(_REHASHED_NAME.fullmatch, names)):
            return
        for name in names:
            with suppress(OSError):
                context.load_verify_locations(os.path.join(directory, name))


@contextmanager
def _certificates(*paths: str | None) -> Iterator[None]:
    """Raises `NotFoundError` for a missing file, `FormatError` for one without a certificate or key."""
    for path in paths:
        if path is not None and not os.path.isfile(path):
            raise unopened(path, IsADirectoryError("a directory") if os.path.isdir(path) else FileNotFoundError())
    with _readable(next(filter(None, reversed(paths)), "")):
        yield


@contextmanager
def _readable(path: str, otherwise: str = "no readable certificate or key") -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError):  # ValueError: an empty file
        raise FormatError(otherwise, path) from None
