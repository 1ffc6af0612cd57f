"""Transfers of blobs: fetched from a registry and uploaded to it, each resumed after an interruption.

Memory is bounded by one chunk. Bytes that are fetched are not verified here: the reader verifies them (`verified`).
Bytes that are sent are hashed on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

from ocitool import credentials
from ocitool.blob import STEP, Blob, label
from ocitool.digest import Digest, verified
from ocitool.errors import IntegrityError, NotFoundError, OcitoolError, TransportError
from ocitool.limits import KiB, MiB
from ocitool.transports.registry.client import Client
from ocitool.transports.registry.endpoint import RETRIES
from ocitool.transports.registry.errors import RETRIED, UnexpectedResponse, Unreachable, connection_error
from ocitool.transports.registry.http.addresses import origin
from ocitool.transports.registry.http.http1 import Response
from ocitool.transports.registry.http.response_bodies import decode_content, drain, is_html_page, retry_after, skip_bytes
from ocitool.transports.registry.scopes import Scope, pull_scope, push_scope
from ocitool.transports.registry.upload_bodies import UploadSource, read_source

_MAX_INTERRUPTIONS = 100
"""Interruptions of one blob after which a transfer fails, however many bytes came between them."""
_PROGRESS = 1 * KiB
"""Bytes that an attempt must transfer to count as progress."""
_MONOLITHIC_SIZE = 1 * MiB
"""Blobs up to this size are uploaded with the PUT that closes the upload: one request less."""
_CHUNK_SIZE = 16 * MiB
"""Bytes of a chunk if the registry requires a chunked upload."""
_MIN_CHUNK_SIZE = 1 * MiB


_HEAD_RETRIES = 2
"""Retries of a HEAD that fails: later requests show the same."""


# Fetching


class Presence(NamedTuple):
    """What a registry says of a blob. `present`: None if it does not say. `size`: -1 if it does not say."""

    present: bool | None
    size: int = -1


def presence(client: Client, path: str, digest: Digest, scope: Scope | None = None) -> Presence:
    """Returns whether a repository has a blob, by HEAD. An error response means that it is not known: some registries
    forbid HEAD to users who may push, storage behind signed URLs allows GET only, some proxies forbid HEAD, and some
    quotas count it separately. So does a status of 429 or 5xx after `_HEAD_RETRIES` retries. Raises `TransportError` if
    there is no response."""
    url = client.url(f"{path}/blobs/{digest}")
    try:
        response = client.request("HEAD", url, scope or pull_scope(path), f"blob {digest}", retries=_HEAD_RETRIES)
    except UnexpectedResponse:
        return Presence(None)
    drain(response)
    if response.status_code != 200 or is_html_page(response):
        return Presence(False if response.status_code == 404 else None)
    length = response.headers.get("Content-Length", "")
    return Presence(True, int(length) if length.isascii() and length.isdigit() and len(length) < 20 else -1)


def stored_size(client: Client, path: str, digest: Digest, scope: Scope | None = None) -> int | None:
    """Returns the size of a blob that the repository has, -1 if the registry does not state it; None if it is absent or
    not known."""
    present, size = presence(client, path, digest, scope)
    return size if present else None


def fetch(
    client: Client, path: str, digest: Digest, size: int, offset: int = 0, max_bytes: int | None = None
) -> Iterator[bytes]:
    """Yields the bytes of a blob from `offset`, at most `max_bytes`. An interrupted transfer is resumed. Bytes after
    `size` are yielded too, so that the reader's verification finds them; if there are fewer, `IntegrityError` is
    raised.

    Raises `NotFoundError`, `Denied`, `Unreachable`, `TransportError`."""
    return _fetch(client, client.url(f"{path}/blobs/{digest}"), pull_scope(path), f"blob {digest}", size, offset, max_bytes)


def fetch_range(client: Client, path: str, digest: Digest, size: int, start: int, count: int) -> Iterator[bytes]:
    """Yields `count` bytes of a blob from `start`, as `fetch` does. Raises `RangesUnsupported` if the server sends other
    bytes than those that were requested."""
    url = client.url(f"{path}/blobs/{digest}")
    return _fetch(client, url, pull_scope(path), f"blob {digest}", size, start, count, partial(_request_exact_range, size))


class RangesUnsupported(Exception):
    """The server does not send the requested range of a blob."""


def fetch_foreign(
    client: Client, urls: Sequence[str], size: int, offset: int = 0, max_bytes: int | None = None
) -> Iterator[bytes]:
    """Yields the bytes of a layer as `fetch` does, from the first of its URLs that works. No credentials are sent, not
    even to the registry itself: the URLs were written by the author of the image."""
    usable = [url for url in urls if origin(url)[0] in ("http", "https") and origin(url)[1]]
    problem: OcitoolError = TransportError("none of its URLs is valid", client.host)
    position = offset
    for url in usable:
        credentials.remember_address(url)
        try:
            for chunk in _fetch(client, url, None, "layer", size, position, max_bytes and max_bytes - (position - offset)):
                position += len(chunk)
                yield chunk
            return
        except (TransportError, NotFoundError) as error:
            problem = error
    raise problem


def _fetch(
    client: Client, url: str, scope: Scope | None, what: str, size: int, offset: int, max_bytes: int | None,
    request: Callable[..., Response] | None = None,
) -> Iterator[bytes]:  # fmt: skip
    position, end = offset, size if max_bytes is None else min(size, offset + max_bytes)
    failures = interruptions = 0
    whole = False  # request the whole blob: the server does not support ranges correctly
    while position < end:
        began = position
        problem: OcitoolError
        try:
            requested = 0 if whole else position
            with closing(
                (request or _request_range)(client, url, scope, what, requested, None if whole or max_bytes is None else end)
            ) as response:
                length = response.headers.get("Content-Length", str(size))
                if response.status_code == 200 and length != str(size) and is_html_page(response):
                    raise client.response_error(response, what, client.host)
                for chunk in _body_from(response, requested, position, size):
                    client.task.count_transferred(len(chunk))
                    position += len(chunk)
                    yield chunk if max_bytes is None else chunk[: len(chunk) - max(0, position - end)]
                    if position > size or (max_bytes is not None and position >= end):
                        return
            problem = IntegrityError(f"{position} bytes where {size} are stated")
            if whole and position == began and "Content-Length" in response.headers:
                raise problem  # the second complete response that is too short
        except _Retry as error:
            problem, whole = error.problem, whole or error.whole
        except OSError as error:
            client.task.check()
            problem = connection_error(error, client.host)
        if position < end:
            failures, interruptions = (1 if position >= began + _PROGRESS else failures + 1), interruptions + 1
            if failures > RETRIES or interruptions > _MAX_INTERRUPTIONS:
                raise problem from None
            if position >= began + _PROGRESS:
                client.report_resume(problem)
            elif failures > 1 or not whole:
                client.back_off(failures, problem)


class _Retry(Exception):
    """A response after which another attempt may succeed. `whole`: the next attempt must request the whole blob."""

    def __init__(self, problem: OcitoolError, *, whole: bool = False) -> None:
        super().__init__(problem.what)
        self.problem = problem
        self.whole = whole


def _request_range(client: Client, url: str, scope: Scope | None, what: str, position: int, end: int | None) -> Response:
    """Returns a response with the bytes from `position`, or with all of them."""
    headers = {"Range": f"bytes={position}-{end - 1 if end else ''}"} if position or end else {}
    response = client.request("GET", url, scope, what, headers=headers)
    status = response.status_code
    if status == 206:
        if _range_start(response.headers.get("Content-Range", "")) != position:
            response.close()
            problem = TransportError("the registry sent another range of the blob than was requested", client.host)
            raise _Retry(problem, whole=True)
    elif status == 403 and not client.owns(response.url):  # an expired signed URL: the next attempt is redirected to a new one
        raise _Retry(client.response_error(response, what, client.host))
    elif headers and status not in (200, 401, 403, 404):  # ranges are not supported: 400, 416 or 501
        raise _Retry(client.response_error(response, what, client.host), whole=True)
    elif status != 200:
        raise client.response_error(response, what, client.host)
    return response


def _request_exact_range(
    size: int, client: Client, url: str, scope: Scope | None, what: str, position: int, end: int
) -> Response:
    """Returns a response with a range of a blob of `size` bytes. Raises `RangesUnsupported` for any other response that
    has bytes of the blob."""
    try:
        response = _request_range(client, url, scope, what, position, end)
    except _Retry as error:
        if error.whole:
            raise RangesUnsupported from None
        raise
    if response.status_code != 206 or _range_total(response) not in (None, size):
        response.close()
        raise RangesUnsupported
    return response


def _range_start(content_range: str) -> int | None:
    unit, _, rest = content_range.partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isascii() and first.isdigit() and len(first) < 20 else None


def _body_from(response: Response, requested: int, position: int, size: int) -> Iterator[bytes]:
    """Yields the bytes of the body from `position`. A server that ignores `Range` sends all of them: those before are
    skipped."""
    is_part = response.status_code == 206
    skip = position - (requested if is_part else 0)
    if response.headers.get("Content-Encoding"):
        if is_part and _range_total(response) not in (None, size):
            problem = TransportError("the registry sent a range of an encoded blob")
            raise _Retry(problem, whole=True)
        if not is_part and response.headers.get("Content-Length") != str(size):
            yield from skip_bytes(decode_content(response, size), skip)
            return
    read = response.read1  # returns what was received: the rest may never arrive
    while skip > 0:
        chunk = read(min(skip, STEP))
        if not chunk:
            return
        skip -= len(chunk)
    while chunk := read(min(STEP, max(1, size - position + 1))):
        position += len(chunk)
        yield chunk


def _range_total(response: Response) -> int | None:
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isascii() and total.isdigit() and len(total) < 20 else None


# Uploading


class UploadTarget(NamedTuple):
    """A repository that is written to."""

    client: Client
    path: str

    @property
    def where(self) -> str:
        return f"{self.client.host}/{self.path}"


def send(target: UploadTarget, blob: Blob, mount_from: Sequence[str]) -> bool:
    """Uploads a blob to a repository, or mounts it from one of `mount_from`, repositories of the same registry that
    have it. Returns False if it was mounted and no byte was sent.

    Raises `IntegrityError` if the bytes do not match the digest (the registry then stores nothing), `Denied`,
    `TransportError`."""
    assert blob.digest is not None
    (client, path), digest = target, blob.digest
    location: str | None = None
    for repository in client.mount_hints.without_wrong(blob.digest, mount_from):
        location = client.mounts.request(path, blob.digest, repository)
        if location is None:
            if not client.mounts.is_reliable(lambda: presence(client, path, digest, push_scope(path)).present):
                return _send_if_missing(target, blob, repository)
            client.mounts.add_mounted(path, partial(_send_if_missing, target, blob, repository))
            return False
        if location:
            break
    _Upload(target, blob, location or None).run()
    return True


def note_present(target: UploadTarget, blob: Blob) -> None:
    """Records that the registry reports a blob as present. If it then refuses a manifest because the blob is unknown,
    it is sent."""
    assert blob.digest is not None

    def send_it() -> None:
        text = f"{target.where}: the registry reported the blob {blob.digest} as present, but does not have it; it is sent"
        target.client.task.notice("damaged", text)
        _Upload(target, blob, None).run()

    target.client.mounts.add_reported(target.path, blob.digest, send_it)


def _send_if_missing(target: UploadTarget, blob: Blob, repository: str) -> bool:
    """Sends a blob that was reported as mounted if the repository does not have it, and records that mounts from
    `repository` do not work. Returns whether it was sent."""
    client, path = target
    assert blob.digest is not None
    if stored_size(client, path, blob.digest, push_scope(path)) is not None:
        return False
    client.mount_hints.add_wrong(blob.digest, repository)
    text = f"{target.where}: the registry reported the blob {blob.digest} as mounted from {repository}"
    client.task.notice("mount", f"{text}, but does not have it; it is sent")
    _Upload(target, blob, None).run()
    return True


class _Upload:
    """The upload of one blob: POST, then one PATCH or several chunks, then PUT (distribution-spec, "Pushing blobs").
    After an interruption the registry is asked how many bytes it has."""

    def __init__(self, target: UploadTarget, blob: Blob, location: str | None) -> None:
        self._client, self._path = target
        self._where = target.where
        self._blob = blob
        self._scope = push_scope(self._path)
        self._location = location
        self._offset = 0
        self._chunk_size: int | None = None
        self._token_renewed = False
        self._is_resumed = False
        self._is_closing = False
        self._reported = 0
        assert blob.digest is not None
        self._digest: Digest = blob.digest

    def run(self) -> None:
        failures = interruptions = reached = 0
        while True:
            try:
                if self._location is None:
                    self._begin()
                if self._blob.size <= _MONOLITHIC_SIZE and not self._offset and self._chunk_size is None:
                    self._close_upload(whole=True)
                else:
                    self._send_body()
                    self._close_upload()
                return
            except _Interrupted as error:
                self._client.task.check()
                problem, seconds, counts, restart = error.problem, error.seconds, error.counts, error.restart
                if self._is_closing and stored_size(self._client, self._path, self._digest, self._scope) is not None:
                    return  # only the response was lost
            except OcitoolError:
                self._cancel()
                raise
            if restart:
                self._cancel()
            else:
                self._resume()
            advanced, reached = self._offset > reached, max(reached, self._offset)
            failures, interruptions = (1 if advanced else failures + 1) if counts else failures, interruptions + 1
            if failures > RETRIES or interruptions > _MAX_INTERRUPTIONS:
                self._cancel()
                raise problem from None
            if counts and advanced and seconds is None:
                self._client.report_resume(problem)
            elif counts:
                self._client.back_off(failures, problem, seconds)

    def _begin(self) -> None:
        url = self._client.url(f"{self._path}/blobs/uploads/")
        response = self._client.request("POST", url, self._scope, "upload")
        if response.status_code != 202:
            raise self._client.response_error(response, "upload", self._where)
        drain(response)
        self._location = self._client.location_of(response)
        if self._location is None:
            raise TransportError("its response to the start of an upload has no Location", self._where)
        self._offset, self._is_resumed = 0, False
        min_length = response.headers.get("OCI-Chunk-Min-Length", "")
        if min_length.isascii() and min_length.isdigit() and len(min_length) < 12:
            self._chunk_size = max(_CHUNK_SIZE, int(min_length))

    def _send_body(self) -> None:
        """Sends the remaining bytes, in one request or in chunks. They are verified from the first byte."""
        size = self._blob.size
        self._report_position(self._offset)
        source = UploadSource(self._blob, self._digest, self._offset, self._client.task, self._report_position)
        while self._offset < size:
            count = min(self._chunk_size or size, size - self._offset)
            headers = {"Content-Type": "application/octet-stream"}
            if self._offset or self._chunk_size is not None:
                headers["Content-Range"] = f"{self._offset}-{self._offset + count - 1}"
            response = self._request("PATCH", self._url, headers, source.body(count))
            if response.status_code == 413 and (self._chunk_size or size) > _MIN_CHUNK_SIZE:
                self._chunk_size = max(_MIN_CHUNK_SIZE, min(self._chunk_size or size, 2 * _CHUNK_SIZE) // 2)
                raise _Interrupted(self._client.response_error(response, "upload", self._where), counts=False)
            if response.status_code not in (201, 202, 204):
                raise self._client.response_error(response, "upload", self._where)
            drain(response)
            self._update_location(response)
            self._offset += count
        source.verify_end()

    def _close_upload(self, *, whole: bool = False) -> None:
        """Closes the upload with the digest. `whole`: the body has all bytes of the blob."""
        body: Any = b""
        if whole:
            body = b"".join(verified(read_source(self._blob), self._digest, self._blob.size))
            self._client.task.count_transferred(len(body))
            self._report_position(len(body))
        headers = {"Content-Type": "application/octet-stream"}
        self._is_closing = True
        response = self._request("PUT", _with_digest(self._url, self._digest), headers, body)
        if whole and response.status_code == 413:
            self._chunk_size = _MIN_CHUNK_SIZE
            raise _Interrupted(self._client.response_error(response, "upload", self._where), counts=False)
        if response.status_code not in (200, 201, 204):
            raise self._client.response_error(response, f"blob {self._digest}", self._where)
        drain(response)

    def _report_position(self, sent: int) -> None:
        """Reports the number of bytes sent; after an interruption it may be lower than before."""
        self._client.task.advance(label(self._blob), sent - self._reported, self._blob.size)
        self._reported = sent

    def _request(self, method: str, url: str, headers: dict[str, str], body: Any) -> Response:
        """Returns the response to one attempt. Raises `_Interrupted` if the upload can go on: how depends on the
        status."""
        try:
            response = self._client.request_once(method, url, self._scope, headers=headers, body=body)
        except Unreachable as error:
            if not error.transient:
                raise
            raise _Interrupted(error) from None
        if response.status_code in (401, 403) and not self._client.owns(response.url):
            # an expired signed URL: a new upload gets another one
            raise _Interrupted(self._client.response_error(response, "upload", self._where), restart=True)
        if response.status_code == 401 and not self._token_renewed:
            self._token_renewed = True  # the token had expired; the next attempt has a new one
            raise _Interrupted(self._client.response_error(response, "upload", self._where), counts=False)
        # The registry does not have the bytes that it stated, or not those of the blob.
        is_inconsistent = self._is_resumed and response.status_code in (400, 416)
        if is_inconsistent or response.status_code in RETRIED or response.status_code in (404, 416):
            seconds = retry_after(response)
            raise _Interrupted(self._client.response_error(response, "upload", self._where), seconds, restart=is_inconsistent)
        self._token_renewed = False
        return response

    def _resume(self) -> None:
        """Asks the registry how many bytes it has; an upload that it no longer knows begins again."""
        if self._location is None:
            return
        try:
            response = self._client.request("GET", self._location, self._scope, "upload")
        except TransportError:
            self._location, self._offset = None, 0
            return
        drain(response)
        last = response.headers.get("Range", "").removeprefix("bytes=").partition("-")[2]
        known = response.status_code == 204 and last.isascii() and last.isdigit() and len(last) < 20
        offset = int(last) + 1 if known else 0
        # Registries state "0-0" both for no bytes and for one byte.
        if offset > 1 and offset <= self._blob.size:
            self._offset, self._is_resumed = offset, True
            self._update_location(response)
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self._location is not None:
            with suppress(OcitoolError):
                self._client.request_once("DELETE", self._location, self._scope).close()
        self._location, self._offset = None, 0

    def _update_location(self, response: Response) -> None:
        """The next request of the upload is sent to the `Location` of this response, if it has one."""
        self._location = self._client.location_of(response) or self._location

    @property
    def _url(self) -> str:
        assert self._location is not None
        return self._location


class _Interrupted(Exception):
    """The upload was interrupted and can go on. `counts`: as a failed attempt; else the next one differs from the last.
    `restart`: from the first byte."""

    def __init__(
        self, problem: OcitoolError, seconds: float | None = None, *, counts: bool = True, restart: bool = False
    ) -> None:
        super().__init__(problem.what)
        self.problem = problem
        self.seconds = seconds
        self.counts = counts
        self.restart = restart


def _with_digest(location: str, digest: Digest) -> str:
    """Returns the URL that closes an upload; the rest of it stays as the registry wrote it."""
    return f"{location}{'&' if '?' in location else '?'}digest={quote(str(digest), safe='')}"
