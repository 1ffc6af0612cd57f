"""Every error a user can meet, each with the exit code it ends the program with.

    OcitoolError
    ├── UsageError         2   wrong words: flags, references, a layer number out of range
    ├── NotFoundError      3   no such image, tag, blob, platform or path
    ├── FormatError        4   a document, archive or layer that cannot be parsed
    │   ├── UnsupportedError   4   parsed, but of a kind that cannot be worked on
    │   └── NotAnImageError    4   an archive or directory, sound as far as it goes, that holds something else
    ├── IntegrityError     5   bytes that do not match their digest, size or diff_id
    ├── UnsafeError        6   an entry that would leave the root file system
    ├── LimitError         7   larger, deeper or more than the limits allow
    ├── TransportError     8   a registry, an engine or a local file that cannot be read
    ├── DestinationError   9   disk full, exists already, not writable
    └── CancelledError   130   interrupted (143 when terminated, 129 when the terminal closes)

`what` is one sentence, `where` the file, reference, layer or entry it is about, `hint` what to try. All three may hold
text that comes from an image: it is escaped when it is printed.
"""

from __future__ import annotations

from typing import Any

EXIT_CODES = {
    0: "done, or no difference",
    1: "differences, findings, or a `--fail-on` rule that is met; a report of which some source could not be read",
    2: "wrong usage: flags, references, a layer number out of range, an artifact where an image is needed",
    3: "not found: image, tag, blob, platform, path; or several images and none picked",
    4: "the image, document or layer cannot be parsed, or is of a kind that cannot be worked on",
    5: "integrity: bytes that do not match their digest, size or diff_id",
    6: "an unsafe entry was refused",
    7: "a limit was exceeded",
    8: "a registry could not be reached, refused or failed, or a file could not be read",
    9: "the destination: it exists already, the disk is full, it is not writable",
    70: "a fault of ocitool itself; `--debug` shows where",
    129: "the terminal was closed (SIGHUP), unless the program was started to ignore that (`nohup`)",
    130: "interrupted",
    141: "the reader of our output left",
    143: "terminated",
}
"""What each exit code of the program means, for the pages of docs/ and the man pages."""


class OcitoolError(Exception):
    """An error with a place and a hint. Never raised itself, only its subclasses."""

    exit_code = 70
    from_source = False
    """Whether it occurred while reading a source, in a command that also writes."""
    ends_run = False
    """Whether it would occur again for every other image of a run, so that the run ends."""

    def __init__(self, what: str, where: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Makes the error picklable for other processes, whatever arguments its class takes."""
        return _rebuild, (type(self), self.args, self.__dict__)

    def at(self, where: str) -> OcitoolError:
        """Returns the same error with this place, unless it already has one."""
        if self.where is None:
            self.where = where
        return self

    def prefixed(self, directory: str) -> OcitoolError:
        """Returns the same error, its place taken as a path below this directory."""
        self.where = directory.rstrip("/") + (self.where or "")
        return self

    def __str__(self) -> str:
        return f"{self.what} ({self.where})" if self.where else self.what


def _rebuild(kind: type[OcitoolError], args: tuple[Any, ...], fields: dict[str, Any]) -> OcitoolError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class UsageError(OcitoolError):
    exit_code = 2
    ends_run = True


class NotFoundError(OcitoolError):
    exit_code = 3


class FormatError(OcitoolError):
    exit_code = 4


class UnsupportedError(FormatError):
    exit_code = 4


class NotAnImageError(FormatError):
    exit_code = 4


class IntegrityError(OcitoolError):
    exit_code = 5


class UnsafeError(OcitoolError):
    exit_code = 6


class LimitError(OcitoolError):
    exit_code = 7


class TransportError(OcitoolError):
    exit_code = 8


class DestinationError(OcitoolError):
    exit_code = 9
    ends_run = True


class CancelledError(OcitoolError):
    exit_code = 130
    ends_run = True
