"""Writes the rows of a collection as Parquet: images, the layers of each, layers, and every entry of every layer.

    images.parquet   reference, digest, kind, own, shared, marginal
    stacks.parquet   reference, platform, position, layer, created_by
    layers.parquet   layer, digest, diff_id, size, codec, uncompressed_size, entries
    files.parquet    layer, row, path, path_bytes, kind, size, mode, uid, gid, mtime, content, link

`layer` is the same key in all files. `path_bytes` has the exact bytes of a path, `path` the same as text; `mtime` is in
nanoseconds; `content` is the SHA-256 of a regular file. The rows of a layer are consecutive, layers are in any order. Files
appear whole or not at all. Memory: the rows of one layer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from typing import Any

from ocitool import masking
from ocitool.dedupe.collection import Collection, StoredBlob
from ocitool.directories import OpenDirectory, located
from ocitool.errors import DestinationError, UsageError
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.transports.outputs import output_file

_KINDS = [kind.name.lower() for kind in Kind]


def require_pyarrow(option: str) -> None:
    """Raises `UsageError` if the package that reads and writes Parquet is not installed. `option`: what needs it."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UsageError(f"{option} needs the package pyarrow", hint="pip install 'ocitool[export]'") from None


@contextmanager
def export(directory: str | None, collection: Collection) -> Iterator[Rows | None]:
    """Provides a writer of rows, layer by layer; the Parquet files appear in the directory when the block ends without an
    error. Provides None if `directory` is None.

    Raises `UsageError` without the package pyarrow, `DestinationError`.
    """
    if directory is None:
        yield None
        return
    require_pyarrow("--export")
    import pyarrow

    if directory == "-":
        raise UsageError("--export makes a directory, which cannot go to standard output", hint="--export ./- for that name")
    made: tuple[OpenDirectory, str] | None = None
    try:
        os.makedirs(os.path.dirname(directory.rstrip("/")) or ".", exist_ok=True)
        above, name = located(directory)
        made = (above, name) if above.stat(name) is None else None
        with ExitStack() as stack:
            rows = Rows(above.make_below(name), stack)
            yield rows
            rows.finish(collection)
    except BaseException as error:
        if made is not None:
            with suppress(OSError):
                os.rmdir(made[1], dir_fd=made[0].descriptor)
        if isinstance(error, OSError | pyarrow.ArrowException):
            raise DestinationError(f"the rows cannot be written: {error}", directory) from None
        raise


@lru_cache(1 << 12)
def _masked(instruction: str | None) -> str | None:
    """Returns an instruction or platform with secrets masked."""
    return masking.instruction(instruction) if instruction is not None else None


class Rows:
    """Writes the rows."""

    def __init__(self, directory: OpenDirectory, stack: ExitStack) -> None:
        import pyarrow as pa

        text, number = pa.string(), pa.int64()
        self._stack = stack
        self._directory = directory
        self._layers: list[tuple[Any, ...]] = []
        self._files = self._writer(
            "files", [("layer", text), ("row", number), ("path", text), ("path_bytes", pa.binary()), ("kind", text),
                      ("size", number), ("mode", pa.int32()), ("uid", number), ("gid", number), ("mtime", number),
                      ("content", text), ("link", text)],
        )  # fmt: skip

    def add(self, layer: StoredBlob, index: LayerIndex) -> None:
        """Writes the entries of a layer. Raises `DestinationError`, `pyarrow.ArrowException`."""
        import pyarrow as pa

        contents = (index.content(row) for row in range(len(index)))
        columns = [
            [_clean(layer.key)] * len(index), range(len(index)), [_text(path) for path in index.paths], index.paths,
            [_KINDS[kind] for kind in index.kinds], index.sizes.tolist(), index.modes.tolist(), index.uids.tolist(),
            index.gids.tolist(), index.mtimes.tolist(), [found.hex() if found is not None else None for found in contents],
            [_text(link) or None for link in index.links.column(len(index))],
        ]  # fmt: skip
        schema = self._files.schema
        self._files.write_table(pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema))
        self._layers.append((
            layer.key, _string(layer.digest), str(index.diff_id), layer.size, layer.codec, index.size, len(index),
        ))  # fmt: skip

    def finish(self, collection: Collection) -> None:
        """Writes the files of images and layers."""
        import pyarrow as pa

        text, number = pa.string(), pa.int64()
        self._write(
            "layers", [("layer", text), ("digest", text), ("diff_id", text), ("size", number), ("codec", text),
                       ("uncompressed_size", number), ("entries", number)], sorted(self._layers),
        )  # fmt: skip
        shares = [collection.shares(member) for member in collection.members]
        self._write(
            "images", [("reference", text), ("digest", text), ("kind", text), ("own", number), ("shared", number),
                       ("marginal", number)],
            [(one.reference, _string(one.digest), one.kind, *shares[one.number]) for one in collection.members],
        )  # fmt: skip
        self._write(
            "stacks", [("reference", text), ("platform", text), ("position", number), ("layer", text), ("created_by", text)],
            [
                (one.reference, _masked(stack.platform), position, layer.key, _masked(stack.instructions[position]))
                for one in collection.members for stack in one.platform_images for position, layer in enumerate(stack.layers)
            ],
        )  # fmt: skip
        self._files.close()

    def _writer(self, name: str, columns: list[tuple[str, Any]]) -> Any:
        import pyarrow as pa
        from pyarrow import parquet

        file = self._stack.enter_context(output_file(f"{name}.parquet", below=self._directory))
        writer = parquet.ParquetWriter(file, pa.schema(columns), compression="zstd")
        self._stack.callback(writer.close)
        return writer

    def _write(self, name: str, columns: list[tuple[str, Any]], rows: list[tuple[Any, ...]]) -> None:
        import pyarrow as pa

        writer = self._writer(name, columns)
        values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
        arrays = [pa.array(map(_clean, column), one.type) for column, one in zip(values, writer.schema, strict=True)]
        writer.write_table(pa.table(arrays, schema=writer.schema))
        writer.close()


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _clean(value: Any) -> Any:
    """Returns a value without lone surrogates, which a Parquet string cannot hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _string(value: object) -> str | None:
    return None if value is None else str(value)
