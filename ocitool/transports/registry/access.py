"""How registries are to be reached, as the user says."""

from __future__ import annotations

import os
from collections.abc import Container
from typing import NamedTuple


class Access(NamedTuple):
    """How registries are reached. `insecure_hosts`: these may have no TLS, or an unverified certificate. `ca`: certificates
    of authorities to believe beside those that are known; `cert`, `key`: the client's own. `authfile`: the only file of
    credentials. `foreign`: layers are fetched from the URLs they name."""

    insecure_hosts: Container[str] = ()
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    authfile: str | None = None
    foreign: bool = False

    def absolute(self) -> Access:
        """The same for a process in another directory."""
        paths = {name: os.path.abspath(path) for name in ("ca", "cert", "key", "authfile") if (path := getattr(self, name))}
        return self._replace(**paths)

    def trusts(self, host: str) -> bool:
        """Whether the user said to do without TLS or certificates there."""
        return host in self.insecure_hosts
