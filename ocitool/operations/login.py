"""`login` and `logout`: credentials that a registry takes, kept where docker and podman look for them too."""

from __future__ import annotations

from ocitool.errors import NotFoundError
from ocitool.pipeline.session import Session
from ocitool.transports.registry.keychain import Credentials, Keychain


def login(host: str, user: str, password: str, reading: Session) -> str:
    """Asks the registry whether it takes them, then keeps them; where they are kept. `Denied` where it does not."""
    client = reading.asked().client(host)
    credentials = Credentials(user, password)
    client.login(credentials)
    return client.keychain.store(host, credentials)


def logout(host: str, reading: Session) -> None:
    """Raises `NotFoundError` where nothing is kept for it."""
    if not Keychain(reading.asked().access.authfile).erase(host):
        raise NotFoundError("nobody is logged in", host)
