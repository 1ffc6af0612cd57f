"""Files that look secret: by their path, or by what they hold."""

from __future__ import annotations

import re

from ocitool.patterns import byte_pattern

_NAMES = frozenset(
    b"id_rsa id_dsa id_ecdsa id_ed25519 id_ecdsa_sk id_ed25519_sk .npmrc .yarnrc .yarnrc.yml .pypirc .netrc _netrc .pgpass "
    b".my.cnf .git-credentials .htpasswd htpasswd shadow shadow- gshadow gshadow- kubeconfig credentials credentials.json "
    b"credentials.xml .dockercfg .dockerconfigjson .vault-token .boto .s3cfg .rclone.conf rclone.conf .terraformrc "
    b"terraform.tfvars terraform.tfstate secrets.yml secrets.yaml secrets.json secret.yml secret.yaml master.key "
    b"application_default_credentials.json service-account.json auth.json wp-config.php .cargo-credentials "
    b"ssh_host_rsa_key ssh_host_dsa_key ssh_host_ecdsa_key ssh_host_ed25519_key .token .secret .secrets .password "
    b".bash_history krb5.keytab".split()
)
_ENDS = (b".pem", b".key", b".p12", b".pfx", b".jks", b".keystore", b".kdbx", b".ppk", b".pkcs12", b".keytab", b".ovpn",
         b"_rsa", b"_ed25519", b"_ecdsa", b"_dsa", b".tfstate", b".htpasswd", b".kubeconfig", b".credentials")  # fmt: skip
_PLACES = byte_pattern(
    rb"(?:^|/)(?:\.docker/config\.json|\.aws/(?:credentials|config)|\.kube/config|\.config/gcloud/.*|\.azure/.*"
    rb"|\.cargo/credentials(?:\.toml)?|\.config/gh/hosts\.yml|\.gem/credentials|\.m2/settings(?:-security)?\.xml"
    rb"|\.gnupg/(?:private-keys-v1\.d/.*|secring\.gpg)|\.ssh/(?:id_[^/.]+|[^/]*_key)|containers/auth\.json"
    rb"|etc/kubernetes/[^/]+\.conf|\.composer/auth\.json|\.gradle/gradle\.properties|run/secrets/.*|(?:secrets|serviceaccount)/token)$",
    re.DOTALL,
)
_ENV = byte_pattern(rb"(?:.*\.)?env|\.env(?:\..*)?|\.envrc", re.DOTALL)
_SAMPLES = (b".example", b".sample", b".template", b".dist", b".pub")
_PUBLIC = byte_pattern(rb"(?:^|/)(?:ssl/certs|ca-certificates|certifi|pki/ca-trust)/")
"""Where certificates of authorities stand."""


def secret_path(path: bytes) -> bool:
    """Whether a file of this path is taken for secret whatever it holds: keys, credentials, `.env`. Samples, public keys and
    certificates of authorities are not; `secret_content` judges those."""
    name = path.rpartition(b"/")[2].lower()
    if name.endswith(_SAMPLES):
        return False
    if name in _NAMES or _PLACES.search(path) is not None or (name.startswith(b".env") and _ENV.fullmatch(name)):
        return True
    if name.endswith(b".env"):
        return True
    return name.endswith(_ENDS) and not (name.endswith(b".pem") and _PUBLIC.search(path) is not None)


def secret_content(data: bytes) -> bool:
    """Whether a file holds a private key, or a token of a known prefix."""
    from ocitool.masking.search import known_token

    return known_token(data.decode("utf-8", "replace"))
