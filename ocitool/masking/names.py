"""Decides which names have secret values: names of variables, build arguments, options, labels, headers, JSON members."""

from __future__ import annotations

from functools import lru_cache

from ocitool.patterns import pattern


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PART = pattern(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PARTS = ("passw", "passphrase", "secret", "credential", "apikey", "dockerconfigjson")
"""Parts of words that make a name secret."""
_ENDS = (
    "token", "pass", "pw", "pwd", "privkey", "accesskey", "privatekey", "masterkey", "encryptionkey", "sshkey", "deploykey",
    "authkey", "passkey", "sharedkey", "appkey", "signingkey", "clientkey", "accountkey", "storagekey", "licensekey",
)  # fmt: skip
"""Ends of words that make a name secret."""
_WORDS = _words("""
    pw pwd pass passin passout passcode passwd token tokens tok cred creds auth oauth authorization bearer jwt salt dsn
    pin psk sas otp totp cookie pat basicauth webhook connstr connectionstring netrc
    psw pswd pincode mnemonic hmac pepper unseal pkey passe sessionid kennwort senha contrasena wachtwoord
""")
_KEYS = frozenset({"key", "keys"})
_PAIRS = frozenset({
    ("seed", "phrase"), ("recovery", "phrase"), ("session", "id"), ("sas", "url"), ("sas", "uri"), ("kubeconfig", "data"),
    ("unlock", "code"), ("backup", "code"), ("backup", "codes"), ("recovery", "code"), ("recovery", "codes"), ("pin", "code"),
})  # fmt: skip
"""Last two words of names that make a name secret only together."""
_INNOCENT = _words("""
    compass bypass trespass encompass surpass overpass underpass nopasswd secretary secretariat askpass passwordless
""")
_PUBLIC = _words("""
    public pub gpg pgp recv receive fingerprint keyboard primary foreign sort hot
""")
"""Words that make a `key` public. In official images GPG_KEY is the fingerprint of the key that signs their sources."""
_PRIVATE = frozenset({"private", "secret"})
_ABOUT = _words("""
    file files path dir directory url uri endpoint host hostname port name names version type length len size sizes
    enabled disabled required expiry expires expiration ttl timeout max min alg algo algorithm format header prefix
    suffix policy mode provider issuer audience scheme count limit store keyring keystore user username sock socket
    stdin method realm service backend driver servers server interval attempts retries location rotation through
    fd checking algorithms exchange agent mapping strategy plugin command cmd script helper expired domain
    id_file
""")
"""Last words of names whose value is about a secret, and is not the secret."""
_ALLOW = _words("""
    allow enable disable require skip max min num empty without with clear use no dont random
""")
"""Words of names that are switches or limits: `ALLOW_EMPTY_PASSWORD` must be seen."""
_SIGNATURES = frozenset({"sig", "x-amz-signature", "x-goog-signature"})
"""Parameters of signed URLs. A shell splits them from the URL if their `&` is not quoted."""
_LONGEST = 200


@lru_cache(4096)
def secret_name(name: str) -> bool:
    """Returns whether the value of this name counts as a secret. `PWD`, paths (`..._FILE`), switches and public keys do
    not. Of a long name the end decides."""
    words = [word.lower() for word in _PART.findall(name[-_LONGEST:])]
    if name.lower() in _SIGNATURES or ("webhook" in words and words[-1] in ("url", "uri")):
        return True
    if tuple(words[-2:]) in _PAIRS:
        return True
    if not words or words in (["pwd"], ["oldpwd"]) or words[-1] in _ABOUT or not _ALLOW.isdisjoint(words):
        return False
    if any(map(_secret_word, words)) or ("connection" in words and words[-1] in ("string", "str")):
        return True
    keyed = not _KEYS.isdisjoint(words)
    return keyed and (_PUBLIC.isdisjoint(words) or not _PRIVATE.isdisjoint(words))


def _secret_word(word: str) -> bool:
    if word in _INNOCENT:
        return False
    return word in _WORDS or any(part in word for part in _PARTS) or word.endswith(_ENDS)


def tells_about(name: str) -> bool:
    """Returns whether a name within something secret has a value about the secret, such as `type` or `url`."""
    words = [word.lower() for word in _PART.findall(name[-_LONGEST:])]
    return bool(words) and words[-1] in _ABOUT


def secret_parameter(name: str) -> bool:
    """Returns whether a parameter of a URL counts as a secret: also if it is a signature, which gives access."""
    return name.lower() in _PARAMETERS or secret_name(name)


_PARAMETERS = _words("""
    sig signature x-amz-signature x-amz-credential x-goog-signature x-goog-credential code
""")
