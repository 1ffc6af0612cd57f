"""The user's credentials for a registry, from auth files and the credential helpers that they name.

Specifications: containers-auth.json(5), Docker's config.json, the protocol of docker-credential-helpers. The files are
read in this order, and the first with credentials for the registry is used: only the file that `--authfile` or
`REGISTRY_AUTH_FILE` names, if there is one; else `$XDG_RUNTIME_DIR/containers/auth.json` (without that variable
`/run/containers/UID/auth.json`), `$XDG_CONFIG_HOME/containers/auth.json`, `$DOCKER_CONFIG/config.json`.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from ocitool import credentials, limits
from ocitool.atomic import unwritable
from ocitool.blob import unopened, unreadable
from ocitool.errors import DestinationError, FormatError, OcitoolError, TransportError
from ocitool.patterns import pattern
from ocitool.reference import DEFAULT_HOST
from ocitool.transports.outputs import output_file

HUB_KEY = "https://index.docker.io/v1/"
"""The key of Docker Hub in auth files and credential helpers."""

_HELPER = pattern(r"[A-Za-z0-9._-]{1,64}")
_HELPER_TIMEOUT = 60
_POLL_INTERVAL = 0.1
"""Seconds between two calls of `check` while a helper runs."""
_TOKEN_USER = "<token>"
_URL_SAFE = str.maketrans("-_", "+/")


class Credentials(NamedTuple):
    """A user name and password, or a token: an identity token, which is exchanged for others, or a bearer token, which
    is sent as it is."""

    user: str = ""
    password: str = ""
    identity: str = ""
    bearer: str = ""

    @property
    def basic(self) -> str:
        """The credentials as `Authorization: Basic` has them (RFC 7617)."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")

    def remember(self) -> None:
        """Registers the secrets, so that they are masked in all output."""
        credentials.remember_login(self.user, self.password)
        credentials.remember(self.identity, self.bearer)

    def __repr__(self) -> str:
        return "Credentials(***)"


class Keychain:
    """The auth files and credential helpers of the user."""

    def __init__(
        self, authfile: str | None, warn: Callable[[str], None] = lambda text: None, check: Callable[[], None] = lambda: None
    ) -> None:
        """`warn` is called with a message for each entry or helper that cannot be used. `check` is called while a
        helper runs; an exception that it raises ends the helper."""
        self._check = check
        self._explicit = authfile or os.environ.get("REGISTRY_AUTH_FILE") or None
        self._must_exist = bool(authfile)
        self._warn = warn
        self._warned: set[str] = set()

    def find(self, host: str, path: str | None) -> Credentials | None:
        """Returns the credentials for a repository: its own, those of a path above it, or those of the host; None
        without any. Raises `FormatError` and `TransportError` for a file that cannot be read, `NotFoundError` if the
        file of `--authfile` is missing."""
        for file in self._files():
            fields = _read(file, must=self._must_exist)
            helper = _helper(fields, host)
            if helper is not None:
                found = self._from_helper(helper, host)
                if found is not None:
                    return _checked(found, f"docker-credential-{helper}")
            found = _from_auths(fields, host, path, partial(self._warn_undecodable, file))
            if found is not None:
                return _checked(found, file)
        return None

    def store(self, host: str, login: Credentials) -> str:
        """Stores the credentials with the helper that the file names, else in the file, readable by its owner only.
        Returns the name of the helper or file."""
        file, fields = self._file_to_write(host)
        helper = _helper(fields, host)
        if helper is not None:
            secret = {"ServerURL": _server_key(host), "Username": login.user, "Secret": login.password}
            _run_helper(helper, "store", json.dumps(secret), self._check)
            return f"docker-credential-{helper}"
        auths = {} if fields.get("auths") is None else fields["auths"]
        if not isinstance(auths, dict):
            raise FormatError("auths is not an object", file)
        _write(file, {**fields, "auths": {**_without(auths, host), _server_key(host): {"auth": login.basic}}})
        return file

    def erase(self, host: str) -> bool:
        """Removes the credentials of a host; returns False if there were none. Those of single repositories are not
        removed."""
        file, fields = self._file_to_write(host)
        helper = _helper(fields, host)
        erased = False
        if helper is not None:
            with suppress(_NotStored):
                _run_helper(helper, "get", _server_key(host), self._check)
                _run_helper(helper, "erase", _server_key(host), self._check)
                erased = True
        auths = fields.get("auths")
        if isinstance(auths, dict) and (kept := _without(auths, host)) != auths:
            _write(file, {**fields, "auths": kept})
            erased = True
        return erased

    def _file_to_write(self, host: str) -> tuple[str, dict[str, Any]]:
        """Returns the file that is written to, and its members: the first with credentials for the host, since `find`
        uses that one; else the file that was named explicitly, or docker's."""
        for file in self._files():
            fields = _read(file, must=False)
            auths = fields.get("auths")
            if _helper(fields, host) is not None or (isinstance(auths, dict) and _without(auths, host) != auths):
                return file, fields
        file = self._explicit or _docker_config()
        return file, _read(file, must=False)

    def _files(self) -> Iterator[str]:
        if self._explicit is not None:
            yield self._explicit
            return
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        if not runtime:
            yield f"/run/containers/{os.getuid()}/auth.json"
        config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        for directory in (runtime, config):
            if directory:
                yield os.path.join(directory, "containers", "auth.json")
        yield _docker_config()

    def _warn_undecodable(self, file: str, key: str) -> None:
        """Warns once of an entry without a valid login; its value is not quoted."""
        text = f"{file}: auth of {key} is not USER:PASSWORD in base64, so that entry is not used"
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)

    def _from_helper(self, helper: str, host: str) -> Credentials | None:
        try:
            answer = json.loads(_run_helper(helper, "get", _server_key(host), self._check))
            user, secret = answer["Username"], answer["Secret"]
            if not isinstance(user, str) or not isinstance(secret, str):
                raise ValueError
        except _NotStored:
            return None
        except OcitoolError as error:
            self._warn(f"{host}: {error.what}, so its credentials are not used")
            return None
        except (ValueError, KeyError, TypeError, RecursionError):
            self._warn(f"{host}: docker-credential-{helper} returns no valid credentials, so it is not used")
            return None
        if not secret:
            return None
        return Credentials(identity=secret) if user == _TOKEN_USER else Credentials(user, secret)


def _docker_config() -> str:
    return os.path.join(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"), "config.json")


def _read(file: str, *, must: bool) -> dict[str, Any]:
    try:
        with open(file, "rb") as opened:
            raw = opened.read(limits.DOCUMENT_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if must:
            raise unopened(file, error) from None
        return {}
    except OSError as error:
        raise unreadable(file, error) from None
    if not raw.strip():
        return {}
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        raise FormatError("invalid credential file: not JSON", file) from None
    if not isinstance(fields, dict):
        raise FormatError("invalid credential file: not a JSON object", file)
    return fields


def _write(file: str, fields: dict[str, Any]) -> None:
    directory = os.path.dirname(file) or "."
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        raise unwritable(directory, error) from None
    with output_file(file, private=True) as written:
        written.write(json.dumps(fields, indent="\t").encode() + b"\n")


def _parse_key(key: str) -> tuple[str, str]:
    """Returns the host of a key and the path of repositories after it, or "". A key may have a scheme and, in old
    files, an API version after the host."""
    bare, _, path_below = re.sub(r"^https?://", "", key, flags=re.IGNORECASE).partition("/")
    host = bare.lower()
    host = DEFAULT_HOST if host in ("docker.io", "index.docker.io", "registry-1.docker.io") else host
    path_below = path_below.strip("/")
    return host, "" if path_below in ("v1", "v2") else path_below


def _without(auths: dict[str, Any], host: str) -> dict[str, Any]:
    return {key: value for key, value in auths.items() if _parse_key(key) != (host, "")}


def _server_key(host: str) -> str:
    return HUB_KEY if host == DEFAULT_HOST else host


def _helper(fields: dict[str, Any], host: str) -> str | None:
    helpers = fields.get("credHelpers")
    named = None
    if isinstance(helpers, dict):
        named = next((helper for key, helper in helpers.items() if _parse_key(key)[0] == host), None)
    if named is None:
        named = fields.get("credsStore")
    return named if isinstance(named, str) and _HELPER.fullmatch(named) else None


def _from_auths(fields: dict[str, Any], host: str, path: str | None, undecodable: Callable[[str], None]) -> Credentials | None:
    """Returns the entry for the host with the longest path that contains the repository. `undecodable` is called with
    the key of an entry whose `auth` cannot be decoded."""
    auths = fields.get("auths")
    if not isinstance(auths, dict):
        return None
    found: dict[str, Credentials] = {}
    unread: dict[str, str] = {}
    # The key that tools write today comes last and wins.
    for key, entry in sorted(auths.items(), key=lambda item: item[0] == _server_key(host)):
        at, path_below = _parse_key(key)
        if at != host or not isinstance(entry, dict):
            continue
        auth, readable = _decode_auth(entry.get("auth"))
        stated = _from_entry(entry, auth)
        if stated is not None:
            found[path_below] = stated
        elif not readable:
            unread[path_below] = key
    steps = path.split("/") if path else []
    for length in range(len(steps), -1, -1):
        above = "/".join(steps[:length])
        if above in unread:
            undecodable(unread[above])
        if above in found:
            return found[above]
    return None


def _decode_auth(auth: Any) -> tuple[str, bool]:
    """Returns the `USER:PASSWORD` of an `auth` or "", and whether the value is valid; an absent or empty one is. Some
    tools break it into lines, omit padding or use the URL-safe alphabet."""
    if auth is None or auth == "":
        return "", True
    try:
        text = "".join(auth.split()).rstrip("=").translate(_URL_SAFE)
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
    except (AttributeError, ValueError):  # ValueError: a wrong character or length
        return "", False
    return (decoded, True) if ":" in decoded else ("", False)


def _from_entry(entry: dict[str, Any], decoded: str) -> Credentials | None:
    def text(name: str) -> str:
        value = entry.get(name)
        return value if isinstance(value, str) else ""

    user, password = text("username"), text("password")
    if ":" in decoded:
        user, _, password = decoded.partition(":")
        password = password.rstrip("\0")
    if text("registrytoken"):
        return Credentials(bearer=text("registrytoken").strip())
    if text("identitytoken"):
        return Credentials(user, identity=text("identitytoken"))
    return Credentials(user, password) if user or password else None


def _checked(found: Credentials, where: str) -> Credentials:
    """Registers the credentials and returns them. Raises `FormatError`, without quoting them, if they cannot be sent in
    a header field or form."""
    found.remember()
    texts = (found.user, found.password, found.identity)
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise FormatError("credentials that cannot be encoded in UTF-8", where) from None
    if not (found.bearer.isascii() and found.bearer.isprintable()):
        raise FormatError("invalid token: not printable ASCII", where)
    return found


class _NotStored(TransportError):
    """The helper has no credentials for the registry."""


def _run_helper(helper: str, action: str, stdin: str, check: Callable[[], None]) -> bytes:
    """Returns the output of a credential helper. Error messages do not quote it, since it may contain secrets."""
    import subprocess

    command = f"docker-credential-{helper}"
    pending: bytes | None = stdin.encode()
    try:
        with subprocess.Popen(
            [command, action], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            try:
                for _ in range(round(_HELPER_TIMEOUT / _POLL_INTERVAL)):
                    with suppress(subprocess.TimeoutExpired):
                        answer, _ = process.communicate(pending, timeout=_POLL_INTERVAL)
                        break
                    pending = None
                    check()
                else:
                    raise TransportError(f"{command} did not end within {_HELPER_TIMEOUT} seconds")
            except BaseException:
                process.kill()
                raise
    except FileNotFoundError:
        raise TransportError(f"{command} is not installed") from None
    except OSError as error:
        raise TransportError(f"{command} cannot be run: {error.strerror}") from None
    if process.returncode:
        if action == "get" and b"not found" in answer.lower():
            raise _NotStored("nothing kept")
        failed = DestinationError if action == "store" else TransportError
        raise failed(f"{command} {action} ended with exit code {process.returncode}")
    return answer
