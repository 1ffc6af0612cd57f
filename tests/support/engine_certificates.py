"""Certificates of an engine and of its clients, right and wrong ones, made by openssl for the time of the tests.

authority = Authority(tmp / "authority")
server = authority.certificate("server")
folder = pem_folder(tmp / "client", authority.ca, authority.certificate("client", "clientAuth"))
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

Certificate = tuple[Path, Path]
"""The PEM files of a certificate and of its key."""
HERE = "DNS:localhost,IP:127.0.0.1"
_NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", "openssl.cnf")
_CONFIGURATION = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
_SIGNED = """
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class Authority:
    """Signs certificates. `ca`: the PEM file of its own."""

    def __init__(self, folder: Path, name: str = "authority of the tests") -> None:
        self._folder = folder
        folder.mkdir()
        self.ca = folder / "ca.pem"
        (folder / "openssl.cnf").write_text(_CONFIGURATION)
        _openssl(folder, "req", "-x509", "-days", "2", "-extensions", "ca", *_NEW, "-keyout", "ca-key.pem", "-out", "ca.pem",
                 "-subj", f"/CN={name}")  # fmt: skip

    def certificate(self, name: str, usage: str = "serverAuth", *, names: str = HERE, days: int = 2) -> Certificate:
        """A certificate for the names of a host. With -1 days it has expired."""
        folder = self._folder
        key, request, certificate, extensions = (folder / f"{name}{end}" for end in ("-key.pem", ".csr", ".pem", ".cnf"))
        extensions.write_text(f"extendedKeyUsage = {usage}\nsubjectAltName = {names}\n{_SIGNED}")
        _openssl(folder, "req", "-new", *_NEW, "-keyout", key.name, "-out", request.name, "-subj", f"/CN={name}")
        _openssl(
            folder, "x509", "-req", "-in", request.name, "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
            "-days", str(days), "-extfile", extensions.name, "-out", certificate.name,
        )  # fmt: skip
        return certificate, key


def pem_folder(folder: Path, ca: Path | None = None, own: Certificate | None = None) -> Path:
    """A directory as `DOCKER_CERT_PATH` names it: ca.pem, cert.pem and key.pem, as far as they are given."""
    folder.mkdir()
    for name, path in (("ca.pem", ca), ("cert.pem", own and own[0]), ("key.pem", own and own[1])):
        if path is not None:
            shutil.copyfile(path, folder / name)
    return folder


def encrypted(key: Path, password: str) -> None:
    """Encrypts a key where it is."""
    _openssl(key.parent, "pkcs8", "-topk8", "-in", key.name, "-out", "encrypted.pem", "-passout", f"pass:{password}")
    (key.parent / "encrypted.pem").replace(key)


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
