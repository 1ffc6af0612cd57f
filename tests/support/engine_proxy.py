"""A proxy before an engine's socket that ends or holds back an answer in its middle.

    with EngineProxy(engine.host, r"GET \\S*/archive", after=100_000) as proxy:
        ...                                    # a client, on proxy.host
        proxy.stalled.wait(10)

`cut`: the connection ends after so many bytes of the first such answer, and later ones pass; otherwise it is held back, and
`stalled` is set. `gone`: with the cut, the engine takes no connection any more.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from typing import Self


class EngineProxy:
    def __init__(self, host: str, pattern: str, *, after: int, cut: bool = False, gone: bool = False) -> None:
        self._upstream = host.removeprefix("unix://")
        self._pattern = re.compile(pattern.encode())
        self._after, self._cut, self._gone = after, cut, gone
        self._folder = tempfile.mkdtemp(prefix="oci-", dir="/tmp")  # a socket's path has at most 107 bytes
        self.host = f"unix://{self._folder}/p.sock"
        self.stalled = threading.Event()
        self._ended = threading.Event()
        self._used = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._folder}/p.sock")
        self._listener.listen(16)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._upstream)
            except OSError:
                return
            matched = threading.Event()
            threading.Thread(target=self._requests, args=(client, server, matched), daemon=True).start()
            threading.Thread(target=self._answers, args=(client, server, matched), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, matched: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if not self._used and self._pattern.match(data):
                    self._used = True
                    matched.set()
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # as an engine sees it whose client has gone

    def _answers(self, client: socket.socket, server: socket.socket, matched: threading.Event) -> None:
        passed = 0
        with suppress(OSError), client, server:
            while data := server.recv(1 << 14):
                if matched.is_set():
                    passed += len(data)
                    if passed > self._after:
                        matched.clear()
                        if self._gone:
                            os.unlink(f"{self._folder}/p.sock")
                        if self._cut:
                            client.shutdown(socket.SHUT_RDWR)
                            return
                        self.stalled.set()
                        self._ended.wait()
                        return
                client.sendall(data)
