"""What a running command tells: notices, of which reports show those that matter later too, and how far it is."""

from collections.abc import Iterable, Sequence
from threading import Lock, local
from typing import NamedTuple

from ocitool import credentials


class Notice(NamedTuple):
    """Something the user should know that is not an error: a stable code, and a sentence."""

    code: str
    text: str


class Progress:
    """A listener to a task that does nothing: the base class of progress displays. Its methods are called from several
    threads."""

    def notice(self, notice: Notice) -> None:
        """A notice was added."""

    def expect(self, blobs: Sequence[tuple[str, int]], times: int, anew: bool) -> None:
        """Blobs, by label and size, will be read or written (`times` is 1), or need not be after all (-1). `anew`:
        counting restarts with them."""

    def advance(self, label: str, done: int, total: int | None) -> None:
        """`done` more bytes of a blob were read or written; `total` is its size if that is known."""

    def transferred(self, done: str, label: str, size: int) -> None:
        """A whole blob was transferred over a network. `done`: `fetched`, `sent` or `mounted`."""

    def count(self, what: str, done: int, total: int, size: int, whole: int) -> None:
        """`done` of `total` items of a long run are finished, `size` of `whole` bytes (0 if not known)."""


class Reporter:
    """The notices of one run, and what `progress` is told of it. Its methods are called from several threads."""

    def __init__(self, progress: Progress | None) -> None:
        self.notices: list[Notice] = []
        self.bytes_transferred = 0
        """Bytes of documents and blobs that crossed a network."""
        self._progress = progress or Progress()
        self._kept: set[Notice] = set()
        self._said: set[Notice] = set()
        self._counting = Lock()
        self._heard = local()
        """`notices`: where the notices of this thread are kept, until `keep`."""

    def notice(self, code: str, text: str) -> None:
        """Adds a notice, once. Notices added within `Task.map` are in the order of its items in `notices`."""
        notice = Notice(code, credentials.masked(text))
        heard: dict[Notice, None] | None = getattr(self._heard, "notices", None)
        if heard is not None:
            heard[notice] = None
        else:
            self.keep([notice])
        self._say(notice)

    def remark(self, code: str, text: str) -> None:
        """Shows a notice that is about this run only, and not part of any report."""
        self._say(Notice(code, credentials.masked(text)))

    def keep_apart(self, notices: dict[Notice, None]) -> None:
        """Has the notices of this thread put into `notices` from now on, which `keep` adds later."""
        self._heard.notices = notices

    def keep(self, notices: Iterable[Notice]) -> None:
        """Adds notices that were shown already."""
        with self._counting:
            new = [notice for notice in notices if notice not in self._kept]
            self._kept.update(new)
            self.notices += new

    def _say(self, notice: Notice) -> None:
        with self._counting:
            if notice in self._said:
                return
            self._said.add(notice)
        self._progress.notice(notice)

    def count_transferred(self, count: int) -> None:
        """Counts bytes that went over a network, in either direction."""
        with self._counting:
            self.bytes_transferred += count

    def transferred(self, done: str, label: str, size: int) -> None:
        """Reports that a whole blob went over a network (`fetched`, `sent`), or did not need to (`mounted`)."""
        self._progress.transferred(done, label, size)

    def count(self, what: str, done: int, total: int, size: int = 0, whole: int = 0) -> None:
        """Reports how many items of a long run are done, and how many of their bytes, if known."""
        self._progress.count(what, done, total, size, whole)

    def advance(self, label: str, done: int, total: int | None = None) -> None:
        """Reports that `done` more bytes of a blob were read or written."""
        self._progress.advance(label, done, total)

    def expect(self, blobs: Iterable[tuple[str, int]], *, anew: bool = False) -> None:
        """Reports the blobs, by label and size, that `advance` will be called for, as early as they are known. They are
        added to those under way; with `anew` counting restarts, as when everything was read and is now written."""
        self._progress.expect(list(blobs), 1, anew)

    def unexpect(self, label: str, size: int) -> None:
        """Reports that an expected blob need not be read or written."""
        self._progress.expect([(label, size)], -1, False)


class Counter:
    """Reports progress as a number of items, from several threads; for a single item it reports nothing."""

    def __init__(self, what: str, total: int, reporter: Reporter) -> None:
        self._what = what
        self._total = total
        self._reporter = reporter
        self._done = 0
        self._lock = Lock()
        if total > 1:
            self._reporter.count(what, 0, total)

    def one_more(self) -> None:
        """Counts one finished item."""
        with self._lock:
            self._done += 1
            if self._total > 1:
                self._reporter.count(self._what, self._done, self._total)
