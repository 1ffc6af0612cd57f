"""Runs an operation for a program: access to registries, progress, and cancellation."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocitool import credentials
from ocitool.api.arguments import Words, optional, words
from ocitool.errors import CancelledError, DestinationError, OcitoolError, UsageError
from ocitool.progress import Progress
from ocitool.task import Task
from ocitool.transports.engine import EngineOptions

if TYPE_CHECKING:
    from ocitool.pipeline.session import Session
    from ocitool.transports.registry import Access

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """How registries are accessed: the registry options of the command line. Hosts are written as in references
    (`localhost:5000`), one or several.

    insecure_host: hosts that may have no TLS, or an untrusted certificate. ca: a file with certificates of further
    authorities to trust (PEM). cert, key: the client certificate, and its key if that is in another file. authfile: the
    only file of credentials; by default they come from `REGISTRY_AUTH_FILE`, podman's or docker's files, and credential
    helpers. foreign: layers are fetched from the URLs they name if the registry lacks them. realm: credentials are sent to
    the registry itself and these hosts only. private_host: hosts to which redirects are followed even at a private address.
    """

    insecure_host: Words = ()
    ca: str | os.PathLike[str] | None = None
    cert: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None
    authfile: str | os.PathLike[str] | None = None
    foreign: bool = False
    realm: Words = ()
    private_host: Words = ()

    def __post_init__(self) -> None:
        for name in ("insecure_host", "realm", "private_host"):
            object.__setattr__(self, name, words(getattr(self, name)))  # an iterator could be read only once


def access(options: RegistryOptions) -> Access:
    """Returns the options for the registry transport. Raises `UsageError`."""
    from ocitool.reference import host_name
    from ocitool.transports.registry import Access

    insecure, realms, private = (
        tuple(map(host_name, words(hosts))) for hosts in (options.insecure_host, options.realm, options.private_host)
    )
    ca, cert, key, authfile = map(optional, (options.ca, options.cert, options.key, options.authfile))
    return Access(frozenset(insecure), ca, cert, key, authfile, options.foreign, realms, private)


class Cancellation:
    """Cancels operations. After `cancel()`, every operation that was given this object cleans up as after Ctrl-C and raises
    `CancelledError`; a later operation raises it at once. Any thread may call `cancel()`. A signal handler must call it in
    a new thread, since the interrupted code may hold a lock that `cancel()` waits for."""

    def __init__(self) -> None:
        self._cancelled = False
        self._tasks: dict[Task, None] = {}

    @property
    def cancelled(self) -> bool:
        """Whether `cancel()` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Cancels running operations, and prevents new ones."""
        self._cancelled = True  # first: an operation that starts now registers its task, then looks at this
        for task in list(self._tasks):
            task.cancel()

    @contextmanager
    def _covers(self, task: Task) -> Iterator[None]:
        """Lets `cancel()` cancel the task while the block runs."""
        self._tasks[task] = None
        try:
            if self._cancelled:
                raise CancelledError("cancelled before it began")
            yield
        finally:
            self._tasks.pop(task, None)


@contextmanager
def open_session(
    *,
    verify: bool = False,
    no_cache: bool = False,
    jobs: int = 4,
    registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None,
    platform: str | None = None,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> Iterator[Session]:
    """Provides a session for one operation, or for an open image. Its threads end with the block."""
    from ocitool.pipeline.session import Session, engines
    from ocitool.transports.registry import Registries

    if not 1 <= jobs <= 64:
        raise UsageError(f"--jobs {jobs}: not in the range 1 to 64")
    registry_access = access(registry or RegistryOptions())
    with own_errors(), Task(jobs=jobs, progress=progress) as task, (cancellation or Cancellation())._covers(task):
        registries = Registries(registry_access, task, cached=not no_cache)
        asked = engines(engine, task, platform)
        try:
            yield Session(task, not no_cache, verify, registries, asked)
        finally:
            registries.close()
            asked.close()


@contextmanager
def own_errors() -> Iterator[None]:
    """Masks the user's credentials in errors, since a server may repeat them, and raises `DestinationError` for a full
    disk."""
    try:
        yield
    except OcitoolError as error:
        error.what = credentials.masked(error.what)
        error.where = error.where and credentials.masked(error.where)
        error.hint = error.hint and credentials.masked(error.hint)
        error.args = (error.what,)
        raise
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise DestinationError(f"the output cannot be written: {error.strerror}", error.filename) from error
