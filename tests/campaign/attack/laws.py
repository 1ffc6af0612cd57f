"""What must hold of every run, whatever it was given. Each law is a function of what was asked and how it ran, to breaches."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from campaign.attack.runs import PathState, RunResult

CODES = frozenset(range(10))
"""Exit codes of a run that nothing interrupted."""

# A run may take SECONDS, and so much more for each stored byte, each entry and each unpacked byte of what it was given.
SECONDS, A_BYTE, AN_ENTRY, AN_UNPACKED_BYTE = 1.5, 3e-6, 0.5e-3, 15e-9
WAITED = 6.0
"""Seconds beyond that for what only waits: for a server that is slow, within the campaign's own timeouts."""

# And so much memory.
MEMORY, BYTES_A_BYTE, BYTES_AN_ENTRY = 100 << 20, 30, 3000


@dataclass(slots=True)
class CommandFacts:
    """One command and what is known of its inputs. Paths are below the sandbox."""

    words: tuple[str, ...]
    stored: int = 0
    """Bytes of all inputs."""
    entries: int = 0
    unpacked: int = 0
    """Bytes of the layers, unpacked; no layer counts for more than a reader may unpack of it."""
    held_up: float = 0
    """Seconds for which a server may keep it busy."""
    secrets: tuple[str, ...] = ()
    """Of the images: masked in every report."""
    credentials: tuple[str, ...] = ()
    """Of the user: in no output at all."""
    verbatim: bool = False
    """Standard output is not a report: content, a document or an archive."""
    terminal: bool = False
    outputs: tuple[str, ...] = ()
    """What the command may write, beside its cache and temporary files."""
    copies: str = ""
    """The output that is an image which is to be whole after exit code 0."""
    stdin: bytes = b""
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """One run and what stood around it."""

    asked: CommandFacts
    ran: RunResult
    before: Mapping[str, PathState]
    after: Mapping[str, PathState]
    left: tuple[str, ...]
    """Names in the directory for temporary files afterwards."""
    reports: Mapping[str, bytes]
    """Files of reports that the command wrote, by name."""
    root: Path
    known: frozenset[str] = frozenset()
    """Digests that the index of `asked.copies` listed before."""
    leaked_to: tuple[str, ...] = ()
    """Credentials that a server got which they are not for, with where."""
    requests: int = 0
    documents: int = 0
    """How many requests came, and how many blobs and documents there were to ask for."""


def ended(seen: Observation) -> Iterator[str]:
    """It ends by itself, with a documented code, and with one error where there is one."""
    ran, err = seen.ran, seen.ran.err.decode("utf-8", "replace")
    if ran.hung:
        yield f"did not end within {ran.wall:.0f} s"
        return
    if ran.code not in CODES:
        yield f"exit {ran.code}"
    if "Traceback (most recent" in err and "--debug" not in seen.asked.words:
        yield "a traceback"
    if "a bug: " in err:
        yield "says that it is a bug"
    if "out of memory" in err:
        yield "ran out of memory"
    lines = [line for line in err.splitlines() if line.startswith("ocitool: error: ")]
    if ran.code in range(2, 10) and len(lines) != 1 and not seen.asked.terminal:
        yield f"exit {ran.code} with {len(lines)} errors"
    if ran.code == 0 and lines:
        yield "exit 0 with an error"


def quick(seen: Observation) -> Iterator[str]:
    asked, ran = seen.asked, seen.ran
    most = SECONDS + asked.stored * A_BYTE + asked.entries * AN_ENTRY + asked.unpacked * AN_UNPACKED_BYTE
    most += asked.held_up
    size = f"{asked.stored} bytes and {asked.entries} entries, {asked.unpacked} bytes unpacked"
    if ran.cpu > most:
        yield f"took {ran.cpu:.1f} s of a processor for {size}, allowed {most:.1f}"
    if ran.wall > most * 2 + WAITED:
        yield f"took {ran.wall:.1f} s for {size}, allowed {most * 2 + WAITED:.1f}"


def small(seen: Observation) -> Iterator[str]:
    most = MEMORY + seen.asked.stored * BYTES_A_BYTE + seen.asked.entries * BYTES_AN_ENTRY
    if seen.ran.peak > most:
        given = f"{seen.asked.stored} bytes and {seen.asked.entries} entries"
        yield f"took {seen.ran.peak >> 20} MiB for {given}, allowed {most >> 20}"


def spellings(secret: str) -> set[bytes]:
    """How a secret may stand in an output: as it is, in base64 at each of three offsets, percent-encoded, in JSON, in hex."""
    raw = secret.encode("utf-8", "surrogateescape")
    found = {raw, raw.hex().encode()}
    found |= {one.encode() for one in (quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1])}
    for before in (b"", b"x", b"xx"):
        # What stands before and after changes the first and last characters: those that are the secret's alone are looked for.
        coded = base64.b64encode(before + raw)
        found.add(coded[4 if before else 0 : len(coded) // 4 * 4 - 4])
    return {one for one in found if len(one) >= 8}


def masked(seen: Observation) -> Iterator[str]:
    """No credential in any output, no secret of an image in a report."""
    streams = {"standard output": seen.ran.out, "standard error": seen.ran.err, **seen.reports}
    for secrets, what in ((seen.asked.credentials, "a credential"), (seen.asked.secrets, "a secret of the image")):
        for name, data in streams.items():
            shown = {"inspect", "--show-secrets"} & set(seen.asked.words)  # in the report, wherever it goes
            if seen.asked.verbatim and (name == "standard output" or (shown and name in seen.reports)):
                continue
            for secret in secrets:
                if any(one in data for one in spellings(secret)):
                    yield f"{what} in {name}: {_around(data, secret)}"
    yield from (f"a credential went to {where}" for where in seen.leaked_to)


def _around(data: bytes, secret: str) -> str:
    at = next((data.find(one) for one in spellings(secret) if one in data), 0)
    return repr(data[max(0, at - 40) : at + 60])


HAZARD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufdd0-\ufdef\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
OURS = re.compile(rb"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*[AK]|[12]K)|\r(?=\x1b|\n|$)")
"""What our own colours and bars send."""


def tame(seen: Observation) -> Iterator[str]:
    """No control, invisible or direction character of an image or a server reaches a terminal or a report."""
    streams = {"standard output": seen.ran.out, "standard error": seen.ran.err, **seen.reports}
    for name, data in streams.items():
        if name == "standard output" and seen.asked.verbatim and not seen.asked.terminal:
            continue
        text = (OURS.sub(b"", data) if seen.asked.terminal else data).decode("utf-8", "surrogateescape")
        wild = HAZARD.search(text) or re.search("[\ud800-\udfff]", text)
        if wild is not None:
            around = text[max(0, wild.start() - 30) : wild.end() + 30]
            yield f"{wild[0]!r} in {name}: {around!r}"


def within(seen: Observation) -> Iterator[str]:
    """Nothing but the outputs, the cache and temporary files was made, changed or removed, and no temporary file is left."""
    for path in sorted(seen.before.keys() | seen.after.keys()):
        old, new = seen.before.get(path), seen.after.get(path)
        if old != new:
            how = "made" if old is None else "removed" if new is None else "changed"
            fields = [name for name in PathState._fields if old and new and getattr(old, name) != getattr(new, name)]
            yield f"{how} outside its outputs: {path!r} {' '.join(fields)}".rstrip()
    if seen.left and not seen.ran.hung:
        yield f"left temporary files: {' '.join(seen.left[:5])}"


TYPES = re.compile(r"manifest|image\.index")
"""Media types of documents that lead to others."""


def true(seen: Observation) -> Iterator[str]:
    """After exit code 0 what was written is whole: all that its entries of `index.json` lead to is there and right, or a note
    says that it is not there."""
    if seen.ran.code != 0 or not seen.asked.copies:
        return
    place = seen.root / seen.asked.copies
    if not place.exists() or "--dry-run" in seen.asked.words or "-n" in seen.asked.words:
        return
    try:
        blobs, index = (_of_layout if place.is_dir() else _of_archive)(place)
        mine = [one for one in index["manifests"] if one["digest"] not in seen.known or one["digest"].encode() in seen.ran.out]
        notes = [line for line in seen.ran.out.splitlines() if b"ocitool: note: " in line]  # both streams are a terminal's
        yield from _unsound(blobs, mine, b"\n".join([seen.ran.err, *notes]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, tarfile.TarError) as error:
        yield f"exit 0, and its output cannot be read: {error!r}"


def _of_layout(place: Path) -> tuple[dict[str, bytes], Any]:
    found = {f"{file.parent.name}:{file.name}": file.read_bytes() for file in place.glob("blobs/*/*") if file.is_file()}
    index = place / "index.json"
    if not index.is_file():
        raise ValueError("index.json is no file")
    return found, json.loads(index.read_bytes())


def _of_archive(place: Path) -> tuple[dict[str, bytes], Any]:
    import gzip
    import io

    import zstandard

    data = place.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    elif data[:4] == b"\x28\xb5\x2f\xfd":
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    blobs, index = {}, None
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for one in archive:
            if one.isfile() and (one.name.startswith("blobs/") or one.name == "index.json"):
                content = archive.extractfile(one).read()  # type: ignore[union-attr]
                if one.name == "index.json":
                    index = json.loads(content)
                else:
                    blobs[one.name.removeprefix("blobs/").replace("/", ":")] = content
    return blobs, index


def _unsound(blobs: dict[str, bytes], entries: list[Any], reported: bytes) -> Iterator[str]:
    """What these entries of an index lead to, and is something else or, unless it is `reported`, not there."""
    waiting, met = list(entries), set()
    while waiting:
        entry = waiting.pop()
        digest = entry["digest"]
        if digest in met:
            continue
        met.add(digest)
        if digest not in blobs and digest.encode() in reported:
            continue
        if digest not in blobs or not _right(digest, blobs[digest]):
            yield f"exit 0, and {digest} is {'something else' if digest in blobs else 'not there'}"
            continue
        if not TYPES.search(str(entry.get("mediaType", "manifest"))):
            continue  # carried as it is
        document = json.loads(blobs[digest])
        waiting += document.get("manifests") or ()
        needed = [document["config"], *(document.get("layers") or ())] if "config" in document else []
        for one in needed:
            if one["digest"] not in blobs and not one.get("urls"):
                yield f"exit 0, and {one['digest']} is not there"
            elif one["digest"] in blobs and not _right(one["digest"], blobs[one["digest"]]):
                yield f"exit 0, and the blob {one['digest']} is something else"


def _right(digest: str, data: bytes) -> bool:
    algorithm, _, hexadecimal = digest.partition(":")
    return algorithm not in ("sha256", "sha512") or hashlib.new(algorithm, data).hexdigest() == hexadecimal


def bounded(seen: Observation) -> Iterator[str]:
    """A server is asked a number of times that goes by what it holds."""
    most = 60 + 16 * seen.documents
    if seen.requests > most:
        yield f"sent {seen.requests} requests for {seen.documents} documents, allowed {most}"


LAWS: tuple[Callable[[Observation], Iterator[str]], ...] = (ended, quick, small, masked, tame, within, true, bounded)


def breaches(seen: Observation) -> list[str]:
    return [f"{law.__name__}: {breach}" for law in LAWS for breach in law(seen)]


def escaped(words: tuple[str, ...]) -> str:
    """The command for a shell."""
    import shlex

    return shlex.join(["ocitool", *(os.fsencode(word).decode("utf-8", "backslashreplace") for word in words)])
