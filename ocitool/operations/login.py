"""`login` and `logout`: checks credentials with a registry, and keeps or removes them where docker and podman look for them
too."""

from __future__ import annotations

from ocitool.errors import NotFoundError
from ocitool.pipeline.session import Session
from ocitool.transports.registry.keychain import Credentials, Keychain


def login(host: str, user: str, password: str, session: Session) -> str:
    """Checks the credentials with the registry and keeps them. Returns where they are kept. Raises `Denied` if they are
    refused."""
    client = session.asked().client(host)
    credentials = Credentials(user, password)
    client.login(credentials)
    return client.keychain.store(host, credentials)


def logout(host: str, session: Session) -> None:
    """Removes the credentials of a registry. Raises `NotFoundError` if there are none."""
    if not Keychain(session.asked().access.authfile).erase(host):
        raise NotFoundError("not logged in", host)
