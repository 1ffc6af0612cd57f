"""The files of certificates that an address names, checked before a connection: else OpenSSL says "PEM lib", and of no file."""

from __future__ import annotations

import ssl

from ocitool.blob import unopened
from ocitool.errors import FormatError
from ocitool.transports.engine.address import TlsFiles


def check(tls: TlsFiles) -> None:
    """Raises `FormatError` for a file without a certificate or key, a key of another certificate, and a key with a password;
    `NotFoundError` and `TransportError` for a file that cannot be opened."""
    if tls.ca is not None:
        _check_certificate(tls.ca)
    if tls.cert is None:
        return
    _check_certificate(tls.cert)
    key = tls.key or tls.cert
    raw = _read(key)
    if b"ENCRYPTED" in raw:
        raise FormatError("the key is encrypted, and no password can be given", key, hint="openssl pkey decrypts it")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(tls.cert, key, password=lambda: "")
    except (OSError, ValueError) as error:
        if "MISMATCH" in str(error).upper():
            raise FormatError(f"the key does not belong to the certificate {tls.cert}", key) from None
        raise FormatError("no readable key", key) from None


def _check_certificate(path: str) -> None:
    _read(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError):  # ValueError: an empty file
        raise FormatError("no readable certificate", path) from None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise unopened(path, error) from None
