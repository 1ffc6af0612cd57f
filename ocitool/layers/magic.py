"""Recognition of content that is not a tar, by magic numbers: compressed files, archives, file systems, disk images,
programs.

Used for error messages and reports only; none of these formats is read.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Prefix(Protocol):
    """The first bytes of a blob, and possibly more."""

    def pread(self, size: int, offset: int) -> bytes: ...


class FileFormat(NamedTuple):
    """A format. `name`: as it follows "it is". `unpack`: a command, with FILE in it, that converts it into something
    readable; None if there is none. `content`: the name for a layer of it (`spec.mediatypes.CONTENTS`)."""

    offset: int
    magic: bytes
    name: str
    unpack: str | None = None
    content: str = "unknown"


FORMATS = (
    FileFormat(0, b"\x04\x22\x4d\x18", "an lz4 file", "lz4 -d FILE"),
    FileFormat(0, b"\x02\x21\x4c\x18", "an lz4 file", "lz4 -d FILE"),
    FileFormat(0, b"LZIP", "an lzip file", "lzip -d FILE"),
    FileFormat(0, b"\x89LZO\0\r\n\x1a\n", "an lzop file", "lzop -d FILE"),
    FileFormat(0, b"\x1f\x9d", "a file of compress(1)", "gzip -d FILE"),
    FileFormat(0, b"\x5d\0\0", "an lzma file", "xz -d FILE"),
    FileFormat(0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x FILE"),
    FileFormat(0, b"PK\x03\x04", "a zip archive", "unzip FILE"),
    FileFormat(0, b"PK\x05\x06", "an empty zip archive"),
    FileFormat(0, b"Rar!\x1a\x07", "a rar archive", "unrar x FILE"),
    FileFormat(0, b"!<arch>\n", "an ar archive (a Debian package, or a library)"),
    FileFormat(0, b"\xed\xab\xee\xdb", "an RPM package"),
    FileFormat(0, b"070701", "a cpio archive"),
    FileFormat(0, b"070707", "a cpio archive"),
    FileFormat(0, b"hsqs", "a squashfs file system", "unsquashfs FILE", "squashfs"),
    FileFormat(1024, b"\xe2\xe1\xf5\xe0", "an EROFS file system", None, "erofs"),
    FileFormat(1080, b"\x53\xef", "an ext4 file system"),
    FileFormat(32769, b"CD001", "an ISO image"),
    FileFormat(0, b"QFI\xfb", "a qcow2 disk image"),
    FileFormat(0, b"KDMV", "a VMDK disk image"),
    FileFormat(0, b"vhdxfile", "a VHDX disk image"),
    FileFormat(0, b"conectix", "a VHD disk image"),
    FileFormat(32, b"SIF_MAGIC\0", "a SIF image (Singularity, Apptainer)", None, "sif"),
    FileFormat(0, b"\0asm", "a WebAssembly module", None, "wasm"),
    FileFormat(0, b"\x7fELF", "a program (ELF)"),
    FileFormat(0, b"SQLite format 3\0", "an SQLite database"),
    FileFormat(510, b"\x55\xaa", "a disk image"),
)  # fmt: skip


def recognise(head: Prefix) -> FileFormat | None:
    """Returns the format of these bytes; None if no listed magic number matches."""
    blocks = {0: head.pread(512, 0)}
    for one in FORMATS:
        base = one.offset // 512 * 512
        if base not in blocks:
            blocks[base] = head.pread(512, base)
        at = one.offset - base
        if blocks[base][at : at + len(one.magic)] == one.magic:
            return one
    return None


def is_tar(head: Prefix) -> bool:
    """Returns whether a tar may begin so: with a header whose checksum is right, or with the end-of-archive blocks."""
    block = head.pread(512, 0)
    if not block.strip(b"\0"):
        return recognise(head) is None
    if len(block) < 512:
        return False
    field = block[148:156].strip(b"\0 ")
    total = sum(block) - sum(block[148:156]) + 8 * 32
    signed = total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
    return bool(field) and not field.strip(b"01234567") and int(field, 8) in (total, signed)
