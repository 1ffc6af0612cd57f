"""Decides whether a file looks secret, by its path or its content, and masks patches."""

from __future__ import annotations

import re

from ocitool.masking.names import secret_name
from ocitool.patterns import byte_pattern

_NAMES = frozenset(
    b"id_rsa id_dsa id_ecdsa id_ed25519 id_ecdsa_sk id_ed25519_sk .npmrc .yarnrc .yarnrc.yml .pypirc .netrc _netrc .pgpass "
    b".my.cnf .git-credentials .htpasswd htpasswd shadow shadow- gshadow gshadow- kubeconfig credentials credentials.json "
    b"credentials.xml .dockercfg .dockerconfigjson .vault-token .boto .s3cfg .rclone.conf rclone.conf .terraformrc "
    b"terraform.tfvars terraform.tfstate secrets.yml secrets.yaml secrets.json secret.yml secret.yaml master.key "
    b"application_default_credentials.json service-account.json auth.json wp-config.php .cargo-credentials "
    b"ssh_host_rsa_key ssh_host_dsa_key ssh_host_ecdsa_key ssh_host_ed25519_key .token .secret .secrets .password "
    b".bash_history .zsh_history .python_history .mysql_history .psql_history .node_repl_history .rediscli_history krb5.keytab "
    b".flaskenv .renviron .mylogin.cnf debian.cnf wpa_supplicant.conf chap-secrets pap-secrets .erlang.cookie wallet.dat "
    b"kubeconfig.yaml kubeconfig.yml rootkey.csv local.settings.json".split()
)
_ENDS = (b".pem", b".key", b".p12", b".pfx", b".jks", b".keystore", b".kdbx", b".ppk", b".pkcs12", b".keytab", b".ovpn",
         b"_rsa", b"_ed25519", b"_ecdsa", b"_dsa", b".tfstate", b".tfvars", b".p8", b".htpasswd",
         b".kubeconfig", b".credentials")  # fmt: skip
_PLACES = byte_pattern(
    rb"(?:^|/)(?:\.docker/config\.json|\.aws/(?:credentials|config)|\.kube/config|\.config/gcloud/.*|\.azure/.*"
    rb"|\.terraform\.d/credentials\..*|etc/ssl/private/.*|\.cargo/credentials(?:\.toml)?|\.config/gh/hosts\.yml|\.gem/credentials|\.m2/settings(?:-security)?\.xml"
    rb"|\.gnupg/(?:private-keys-v1\.d/.*|secring\.gpg)|\.ssh/(?:id_[^/.]+|[^/]*_key)|containers/auth\.json"
    rb"|etc/kubernetes/[^/]+\.conf|\.composer/auth\.json|\.gradle/gradle\.properties|run/secrets/.*|(?:secrets|serviceaccount)/token)$",
    re.DOTALL,
)
_ENV = byte_pattern(rb"(?:.*\.)?env|\.env(?:\..*)?|\.envrc", re.DOTALL)
_SAMPLES = (b".example", b".sample", b".template", b".dist", b".pub")
_COPIES = (b"~", b".bak", b".backup", b".old", b".orig", b".save", b".enc")
_TELLING = byte_pattern(rb"passw|passphrase|pwd|secret|cred|token|key|auth|jwt")
"""Parts of names; a name without any of them is never secret by `_called_secret`."""
_DATA = byte_pattern(rb"(?:\.(?:txt|json|ya?ml|toml|ini|cfg|conf|cnf|csv|properties|xml|asc|enc))?$")
"""Suffixes of data files, or no suffix."""
_OF_PROGRAMS = byte_pattern(
    rb"(?:^|/)(?:s?bin|lib(?:32|64|exec)?|share|include|node_modules|[a-z]+-packages|pam\.d|init\.d|default|cron\.[a-z]+|man\d?"
    rb"|docs?|tests?|dpkg|locale|bash_completion\.d)/"
)
"""Directories in which a name refers to a program, not to a secret of the image."""
_PUBLIC = byte_pattern(rb"(?:^|/)(?:ssl/certs|ca-certificates|certifi|pki/ca-trust)/")
"""Directories of certificates of authorities."""


def secret_path(path: bytes) -> bool:
    """Returns whether a file at this path counts as secret, whatever its content: keys, credentials, `.env`. Samples,
    public keys and certificates of authorities do not; for them `secret_content` decides."""
    name = path.rpartition(b"/")[2].lower()
    for _ in range(3):
        if name.endswith(_COPIES):
            end = 1 if name.endswith(b"~") else len(name) - name.rindex(b".")
            path, name = path[:-end], name[:-end]
    if name.endswith(_SAMPLES):
        return False
    if name in _NAMES or _PLACES.search(path) is not None or (name.startswith(b".env") and _ENV.fullmatch(name)):
        return True
    if name.endswith(b".env") or (_TELLING.search(name) is not None and _called_secret(path, name)):
        return True
    return name.endswith(_ENDS) and not (name.endswith(b".pem") and _PUBLIC.search(path) is not None)


def _called_secret(path: bytes, name: bytes) -> bool:
    """Returns whether a data file has a name that would make a variable secret: `db_password`, `api-key.json`."""
    stem = _DATA.sub(b"", name).lstrip(b".")
    if b"." in stem or len(stem) > 60 or stem == b"passwd" or _OF_PROGRAMS.search(path) is not None:
        return False
    return secret_name(stem.decode("utf-8", "replace"))


def secret_content(data: bytes) -> bool:
    """Returns whether a file holds a private key, or a token with a known prefix."""
    from ocitool.masking.search import known_token

    return known_token(data.decode("utf-8", "replace"))


_SETTINGS = (b".yml", b".yaml", b".ini", b".conf", b".cfg", b".cnf", b".toml", b".properties")
"""Suffixes of files whose lines are names and values, never commands."""


def masked_patch(path: bytes, patch: str) -> str:
    """Returns a patch with passwords in URLs masked and, in files of settings, the values of secret names. Its lines stay,
    so that it shows which value changed."""
    from ocitool import masking
    from ocitool.masking.lines import MASK
    from ocitool.masking.search import hide_urls

    settings = path.lower().endswith(_SETTINGS)
    lines = []
    for line in patch.split("\n"):
        if line[:1] in ("+", "-", " ") and not line.startswith(("+++ ", "--- ")):
            masked = masking.text(line[1:]) if settings else hide_urls(line[1:], lambda _: MASK)
            line = line[0] + masked if MASK in masked else line
        lines.append(line)
    return "\n".join(lines)
