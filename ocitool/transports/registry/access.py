"""How registries are to be reached, as the user says."""

import os
from collections.abc import Container
from typing import NamedTuple


class Access(NamedTuple):
    """How registries are reached. `insecure_hosts`: these may have no TLS, or an unverified certificate. `ca`: certificates
    of authorities to believe beside those that are known; `cert`, `key`: the client's own; all three for registries that are
    named, and for no host that one of them sends us to. `authfile`: the only file of credentials. `foreign`: layers are
    fetched from the URLs they name. `realms`: credentials go to no other hosts. `private_hosts`: a registry may send us to
    these wherever they lie."""

    insecure_hosts: Container[str] = ()
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    authfile: str | None = None
    foreign: bool = False
    realms: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()

    def absolute(self) -> "Access":
        """The same for a process in another directory."""
        paths = {name: os.path.abspath(path) for name in ("ca", "cert", "key", "authfile") if (path := getattr(self, name))}
        return self._replace(**paths)

    def is_insecure(self, host: str) -> bool:
        """Whether the user said to do without TLS or certificates there."""
        return host in self.insecure_hosts

    def is_named(self, host: str) -> bool:
        """Whether the user named this host, so that it may lie anywhere."""
        return self.is_insecure(host) or host in self.realms or host in self.private_hosts
