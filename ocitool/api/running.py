"""How an operation runs that a program calls: with which registries, what it tells, and what ends it before its end."""

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
from ocitool.task import Progress, Task

if TYPE_CHECKING:
    from ocitool.pipeline.session import Session
    from ocitool.transports.registry import Access

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """How registries are reached, as the options of the command line say. Hosts are written as in references
    (`localhost:5000`); one, or several.

    insecure_host: these may have no TLS, or an untrusted certificate. ca: a file of certificates of authorities to trust too
    (PEM). cert, key: the client's own certificate, and its key if that is not in it. authfile: the only file of credentials;
    without it they come from `REGISTRY_AUTH_FILE`, podman's or docker's files, credential helpers included. foreign: layers are
    fetched from the URLs they name if the registry lacks them. realm: credentials are sent to no other hosts than the
    registry's own and these. private_host: a registry may send us to these, at a private address too.
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
            object.__setattr__(self, name, words(getattr(self, name)))  # what can be taken once can be asked again


def access(options: RegistryOptions) -> Access:
    """The options as transports want them. Raises `UsageError`."""
    from ocitool.reference import host_name
    from ocitool.transports.registry import Access

    insecure, realms, private = (
        tuple(map(host_name, words(given))) for given in (options.insecure_host, options.realm, options.private_host)
    )
    ca, cert, key, authfile = map(optional, (options.ca, options.cert, options.key, options.authfile))
    return Access(frozenset(insecure), ca, cert, key, authfile, options.foreign, realms, private)


class Cancellation:
    """Ends operations before their end: whatever runs with it raises `CancelledError` soon after `cancel()`, once it has
    cleaned up as after Ctrl-C. Once that is called, nothing begins with it any more. Any thread may call `cancel()`; a handler
    of a signal starts a thread for it, since what it interrupts may hold what `cancel()` waits for."""

    def __init__(self) -> None:
        self._cancelled = False
        self._tasks: dict[Task, None] = {}

    @property
    def cancelled(self) -> bool:
        """Whether `cancel()` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Ends what runs, and what would begin."""
        self._cancelled = True  # first: what begins meanwhile looks at it after it is listed
        for task in list(self._tasks):
            task.cancel()

    @contextmanager
    def _covers(self, task: Task) -> Iterator[None]:
        """What is in it ends with `cancel()`."""
        self._tasks[task] = None
        try:
            if self._cancelled:
                raise CancelledError("cancelled before it began")
            yield
        finally:
            self._tasks.pop(task, None)


@contextmanager
def session(
    *,
    verify: bool = False,
    no_cache: bool = False,
    jobs: int = 4,
    registry: RegistryOptions | None = None,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> Iterator[Session]:
    """A session of one operation, or of an image that is open. Its threads end with the block."""
    from ocitool.pipeline.session import Session
    from ocitool.transports.registry import Registries

    if not 1 <= jobs <= 64:
        raise UsageError(f"--jobs {jobs}: not in the range 1 to 64")
    how = access(registry or RegistryOptions())
    with own_errors(), Task(jobs=jobs, progress=progress) as task, (cancellation or Cancellation())._covers(task):
        known = Registries(how, task, cached=not no_cache)
        try:
            yield Session(task, not no_cache, verify, known)
        finally:
            known.close()


@contextmanager
def own_errors() -> Iterator[None]:
    """Masks the user's credentials in errors, since a server may repeat them, and raises `DestinationError` for a full disk."""
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
