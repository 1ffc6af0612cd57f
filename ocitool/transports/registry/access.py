"""The user's options for registries."""

import os
from collections.abc import Container
from typing import NamedTuple


class Access(NamedTuple):
    """How registries are reached.

    `insecure_hosts`: hosts that may lack TLS or have an unverified certificate. `ca`: a file of additional certificate
    authorities; `cert`, `key`: the client certificate and its key. These three apply to the registries that the user
    names, not to hosts that a registry refers to (redirects, token servers). `authfile`: the only file of credentials
    that is read. `foreign`: layers may be fetched from the URLs in their descriptors. `realms`: if not empty,
    credentials are sent to these hosts only. `private_hosts`: hosts that a registry may refer to whatever network zone
    they are in."""

    insecure_hosts: Container[str] = ()
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    authfile: str | None = None
    foreign: bool = False
    realms: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()

    def absolute(self) -> "Access":
        """Returns the same options with absolute paths, for a process with another working directory."""
        paths = {name: os.path.abspath(path) for name in ("ca", "cert", "key", "authfile") if (path := getattr(self, name))}
        return self._replace(**paths)

    def is_insecure(self, host: str) -> bool:
        """Returns whether the user allowed this host to lack TLS or a valid certificate."""
        return host in self.insecure_hosts

    def is_named(self, host: str) -> bool:
        """Returns whether the user named this host in an option, so that no network zone is forbidden for it."""
        return self.is_insecure(host) or host in self.realms or host in self.private_hosts
