"""HTTP/1.1 requests and responses on a connected socket, one after the other (RFC 9112).

This is written here because an exchange by requests takes five times the CPU, by urllib3 or `http.client` twice, and
importing them takes a third of the time of a short command. Whatever a server sends costs bounded memory and bounded
time. A response that is not HTTP/1.x raises `ConnectionError`.
"""

from __future__ import annotations

import errno
import io
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from ocitool import limits
from ocitool.patterns import byte_pattern

Body = bytes | Iterable[bytes] | None
"""The body of a request: bytes, or chunks of something that has a length."""

_STATUS = byte_pattern(rb"HTTP/1\.(\d) +(\d{3})(?!\d)")
_LINE = 1 << 16
"""Maximum bytes of one line of a head."""
_LINES = 100
"""Maximum header fields of a response, and fields of a trailer."""
_CHUNK = byte_pattern(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;|\r?\n)")
_CHUNK_LINE = 1 << 10
_SEND_TOGETHER = 1 << 16
"""A body of at most this many bytes is sent in one call with the head."""


class Channel:
    """A connected socket with a buffered reader. `close` closes the reader; the caller closes the socket."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self._raw = MinimumRateReader(sock.makefile("rb", buffering=0))
        self._reader = io.BufferedReader(self._raw)
        self._consumed = 0  # bytes of the current response

    def close(self) -> None:
        with suppress(OSError, ValueError):
            self._reader.close()

    def send(self, head: str, body: Body, timeout: float) -> bool:
        """Sends a request. Returns whether all of it was sent: a server may respond before that and close the
        connection. Raises `OSError` if a part cannot be sent within `timeout` seconds, `ValueError` for a head that is
        not Latin-1."""
        if self.sock.gettimeout() != timeout:
            self.sock.settimeout(timeout)
        raw = head.encode("latin-1")
        try:
            if body is None:
                self.sock.sendall(raw)
            elif isinstance(body, bytes):
                if len(body) <= _SEND_TOGETHER:
                    self.sock.sendall(raw + body)
                else:
                    self.sock.sendall(raw)
                    self.sock.sendall(body)
            else:
                self.sock.sendall(raw)
                for piece in body:
                    self.sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            return False
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:  # macOS, for a socket that is being closed
                raise
            return False
        return True

    def read_head(self, timeout: float) -> tuple[int, int, dict[str, str]]:
        """Returns the minor version, the status and the header fields of the next response, skipping informational ones
        (1xx). Names are in lower case; values of a repeated field are joined by commas. Raises `OSError`."""
        if self.sock.gettimeout() != timeout:
            self.sock.settimeout(timeout)
        self._raw.begin(timeout)
        self._consumed = 0
        while True:
            line = self._line(_LINE)
            if not line:
                raise ConnectionResetError("closed without a response")
            found = _STATUS.match(line)
            if found is None:
                raise ConnectionError("a response that is not HTTP/1.x")
            headers = self._headers()
            status = int(found[2])
            if status >= 200:
                self._raw.head = False
                return int(found[1]), status, headers
            if status == 101:
                raise ConnectionError("a response in another protocol")

    def _headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        name = ""
        for _ in range(_LINES + 1):
            line = self._line(_LINE)
            if line in (b"\r\n", b"\n"):
                return found
            if line[-1:] != b"\n":
                raise ConnectionError("a head that is cut, or a line in it without end")
            text = line.decode("latin-1")
            if text[0] in " \t":  # a continuation of the line before (RFC 9112, 5.2)
                if name:
                    found[name] = f"{found[name]} {text.strip()}".strip()
                continue
            name, colon, value = text.partition(":")
            name = name.lower() if colon else ""
            if name:
                found[name] = f"{found[name]}, {value.strip()}" if name in found else value.strip()
        raise ConnectionError(f"a head of more than {_LINES} lines")

    @property
    def drained(self) -> bool:
        """Whether all received bytes were consumed. If not, they would be taken for the start of the next response."""
        return self._consumed == self._raw.received

    def _line(self, size: int) -> bytes:
        line = self._reader.readline(size)
        self._consumed += len(line)
        return line

    def read1(self, size: int) -> bytes:
        piece = self._reader.read1(size)
        self._consumed += len(piece)
        return piece

    def chunk(self) -> int:
        """Returns the size of the next chunk. For the last one (size 0) the trailer is read too."""
        line = self._line(_CHUNK_LINE)
        found = _CHUNK.match(line) if line.endswith(b"\n") else None
        if found is None:
            raise ConnectionError("a chunk without a size")
        size = int(found[1], 16)
        if not size:
            for _ in range(_LINES):
                if self._line(_LINE) in (b"\r\n", b"\n", b""):
                    return 0
            raise ConnectionError(f"a trailer of more than {_LINES} lines")
        return size

    def end_of_chunk(self) -> None:
        if self._line(2) not in (b"\r\n", b"\n"):
            raise ConnectionError("a chunk that is longer than its size")


class Response:
    """A response: `status_code`, `headers`, the `url` of the request, and the body, which can be read once.

    The connection is released for the next request when all of the body is read; `close` before that ends the
    connection."""

    def __init__(self, channel: Channel, method: str, url: str, timeout: float, release: Callable[[bool], None]) -> None:
        """Reads the head. `release` is called once, with whether the connection can be used again."""
        version, self.status_code, headers = channel.read_head(timeout)
        self.url = url
        self.headers = Headers(headers)
        self._channel = channel
        self._release: Callable[[bool], None] | None = release
        connection = headers.get("connection", "").lower()
        self._keep_alive = "close" not in connection if version else "keep-alive" in connection
        self._chunked = headers.get("transfer-encoding", "").lower().rpartition(",")[2].strip() == "chunked"
        self._in_chunk = False  # whether the end of a chunk must be read
        self._remaining: int | None = None  # bytes left of the body or chunk; None if the body ends with the connection
        if method == "HEAD" or self.status_code in (204, 304):
            self._chunked, self._remaining = False, 0
        elif self._chunked:
            self._remaining = 0
        elif "content-length" in headers:
            self._remaining = _content_length(headers["content-length"])
        if self._remaining is None:
            self._keep_alive = False
        elif not self._remaining and not self._chunked:
            self._finish(self._keep_alive)

    def read1(self, size: int) -> bytes:
        """Returns received bytes of the body, at most `size`; b"" at its end. Raises `OSError` if the body is cut."""
        if self._release is None:
            return b""
        try:
            return self._read1(size)
        except BaseException:
            self.close()
            raise

    def _read1(self, size: int) -> bytes:
        if self._chunked and not self._remaining:
            if self._in_chunk:
                self._channel.end_of_chunk()
            self._remaining = self._channel.chunk()
            self._in_chunk = True
            if not self._remaining:
                self._finish(self._keep_alive)
                return b""
        piece = self._channel.read1(size if self._remaining is None else min(size, self._remaining))
        if self._remaining is None:
            if not piece:
                self._finish(False)
        elif not piece and size:
            raise ConnectionError(f"a body that is cut before its last {self._remaining} bytes")
        else:
            self._remaining -= len(piece)
            if not self._remaining and not self._chunked:
                self._finish(self._keep_alive)
        return piece

    def read(self, size: int) -> bytes:
        """Returns `size` bytes of the body, fewer only at its end. Raises `OSError` if the body is cut."""
        piece = self.read1(size)
        if not piece or len(piece) == size:
            return piece
        data = bytearray(piece)
        while len(data) < size and (piece := self.read1(size - len(data))):
            data += piece
        return bytes(data)

    def close(self) -> None:
        """Ends the connection, unless all of the body was read."""
        self._finish(False)

    def _finish(self, reusable: bool) -> None:
        release, self._release = self._release, None
        if release is not None:
            release(reusable and self._channel.drained)


class Headers:
    """The header fields of a response; names are compared without regard to case."""

    def __init__(self, fields: dict[str, str]) -> None:
        """`fields`: by names in lower case."""
        self._fields = fields

    def get(self, name: str, default: str = "") -> str:
        """Returns a value; values of a repeated field are joined by commas."""
        return self._fields.get(name.lower(), default)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._fields


def _content_length(text: str) -> int | None:
    """Returns the length that a `Content-Length` field states; None if it is not a number: then the body ends with the
    connection. Raises `ConnectionError` for several different values (RFC 9112, 6.3)."""
    values = {one.strip() for one in text.split(",")}
    if len(values) > 1:
        raise ConnectionError("a body of several lengths")
    value = values.pop()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None


class MinimumRateReader(io.RawIOBase):
    """The raw stream of a socket. Raises `TimeoutError` if the server sends slower than `limits.SLOWEST`, counting only
    the time spent in reads; `ConnectionError` if the head of a response exceeds `limits.ANSWER_HEAD`."""

    def __init__(self, raw: Any, timeout: float = 0.0) -> None:
        """Owns `raw`: `close` closes it."""
        self._raw = raw
        self.begin(timeout)

    def begin(self, timeout: float) -> None:
        """Starts counting for a new response. `timeout`: seconds allowed in addition to those for the bytes; 0 for no
        timeout."""
        self._timeout = timeout
        self._waited = 0.0
        self.received = 0
        self.head = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        began = time.monotonic()
        count: int | None = self._raw.readinto(buffer)
        self._waited += time.monotonic() - began
        self.received += count or 0
        if self._timeout and self._waited > self._timeout + self.received / limits.SLOWEST:
            raise TimeoutError("the response comes too slowly")
        if self.head and self.received > limits.ANSWER_HEAD:
            raise ConnectionError("a response whose head does not end")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
