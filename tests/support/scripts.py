"""Random edits of a directory, done to the disk: the same for a seed, and nothing outside is ever touched."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
import struct
from collections.abc import Callable

RESERVED = frozenset([b"dev", b"etc", b"proc", b"sys"])
"""Where engines put things of their own: what they are stays, what is in them does not."""

MODES = [0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1777, 0o700, 0o000]
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
TIME = 1_650_000_000_123_456_789


def edit(root: str | os.PathLike[str], seed: object, count: int = 12) -> list[str]:
    """Does `count` random edits as root and returns what was done. Edits that the file system refuses are not done."""
    done: list[str] = []
    script = _Script(os.fsencode(root), random.Random(str(seed)))
    while len(done) < count:
        name = script.chance.choice(sorted(EDITS))
        with contextlib.suppress(OSError, IndexError):
            done.append(f"{name} {EDITS[name](script)!r}")
    return done


class _Script:
    def __init__(self, root: bytes, chance: random.Random) -> None:
        self.root = root
        self.chance = chance
        self.made = 0

    def full(self, path: bytes) -> bytes:
        return os.path.join(self.root, path)

    def any(self, *kinds: Callable[[int], bool], free: bool = False) -> bytes:
        """Some path of one of these kinds, all if none is given; `free`: it may be taken away. `IndexError`: there is none."""
        found = []
        for base, directories, files in os.walk(self.root):
            for name in directories + files:
                path = os.path.relpath(os.path.join(base, name), self.root)
                mode = os.lstat(self.full(path)).st_mode
                if (not kinds or any(kind(mode) for kind in kinds)) and not (free and path in RESERVED):
                    found.append(path)
        return self.chance.choice(sorted(found))

    def fresh(self) -> bytes:
        """A path where nothing is, in some directory."""
        self.made += 1
        name = self.chance.choice([b"new", b".hidden", b"n\xff", b"with space", b"n\xcc\x88", b"x" * 120]) + b"%d" % self.made
        try:
            directory = self.any(stat.S_ISDIR) if self.chance.random() < 0.8 else b""
        except IndexError:
            directory = b""
        return os.path.join(directory, name)

    def write(self, path: bytes) -> None:
        """A new file; where something is already, `FileExistsError`: it may be a link, or a pipe that nobody reads."""
        with open(self.full(path), "xb") as file:
            file.write(self.chance.randbytes(self.chance.choice([0, 1, 511, 512, 513, 4000])))
        self.stamp(path)

    def stamp(self, path: bytes) -> None:
        """A time of its own: what is written now has one of the clock, which no seed repeats."""
        when = TIME + self.chance.randrange(10**15)
        os.utime(self.full(path), ns=(when, when), follow_symlinks=False)


def create(script: _Script) -> bytes:
    path = script.fresh()
    script.write(path)
    return path


def modify(script: _Script) -> bytes:
    path = script.any(stat.S_ISREG)
    with open(script.full(path), "ab") as file:
        file.write(b"more" * script.chance.randrange(1, 300))
    script.stamp(path)
    return path


def truncate(script: _Script) -> bytes:
    path = script.any(stat.S_ISREG)
    os.truncate(script.full(path), 0)
    script.stamp(path)
    return path


def delete(script: _Script) -> bytes:
    path = script.any(free=True)
    _remove(script.full(path))
    return path


def chmod(script: _Script) -> bytes:
    path = script.any(stat.S_ISREG, stat.S_ISDIR)
    os.chmod(script.full(path), script.chance.choice(MODES))
    return path


def chown(script: _Script) -> bytes:
    path = script.any()
    os.chown(script.full(path), script.chance.choice([0, 7, 1000, 70000]), script.chance.choice([0, 8, 3_000_000]),
             follow_symlinks=False)  # fmt: skip
    return path


def touch(script: _Script) -> bytes:
    path = script.any()
    script.stamp(path)
    return path


def link(script: _Script) -> tuple[bytes, bytes]:
    old, new = script.any(stat.S_ISREG, stat.S_ISLNK), script.fresh()
    os.link(script.full(old), script.full(new), follow_symlinks=False)
    return old, new


def rename(script: _Script) -> tuple[bytes, bytes]:
    old, new = script.any(free=True), script.fresh()
    os.rename(script.full(old), script.full(new))
    return old, new


def replace(script: _Script) -> tuple[bytes, bytes]:
    """One path takes another's place, whatever they are."""
    old, new = script.any(free=True), script.any(free=True)
    if old == new or new.startswith(old + b"/") or old.startswith(new + b"/"):
        raise OSError
    _remove(script.full(new))
    os.rename(script.full(old), script.full(new))
    return old, new


def make_directory(script: _Script) -> bytes:
    path = script.fresh()
    os.mkdir(script.full(path))
    script.write(path + b"/child")
    return path


def file_to_directory(script: _Script) -> bytes:
    path = script.any(stat.S_ISREG, stat.S_ISLNK)
    os.unlink(script.full(path))
    os.mkdir(script.full(path))
    if script.chance.random() < 0.7:
        script.write(path + b"/inside")
    return path


def directory_to_file(script: _Script) -> bytes:
    path = script.any(stat.S_ISDIR, free=True)
    shutil.rmtree(script.full(path))
    script.write(path)
    return path


def directory_anew(script: _Script) -> bytes:
    """The same directory with nothing of what was in it."""
    path = script.any(stat.S_ISDIR, free=True)
    shutil.rmtree(script.full(path))
    os.mkdir(script.full(path))
    script.write(path + b"/only")
    return path


def symlink(script: _Script) -> bytes:
    path = script.fresh()
    os.symlink(script.chance.choice([b"/etc", b"../..", b"nowhere", b"n\xff", b"/" + b"t" * 150]), script.full(path))
    return path


def directory_to_symlink(script: _Script) -> bytes:
    path = script.any(stat.S_ISDIR, free=True)
    shutil.rmtree(script.full(path))
    os.symlink(b"/nowhere", script.full(path))
    return path


def xattr(script: _Script) -> bytes:
    path = script.any(stat.S_ISREG, stat.S_ISDIR)
    os.setxattr(script.full(path), b"user.app", script.chance.randbytes(20))
    return path


def capability(script: _Script) -> bytes:
    path = script.any(stat.S_ISREG)
    os.setxattr(script.full(path), b"security.capability", CAPABILITY)
    return path


def fifo(script: _Script) -> bytes:
    path = script.fresh()
    os.mkfifo(script.full(path))
    return path


def device(script: _Script) -> bytes:
    path = script.fresh()
    os.mknod(script.full(path), stat.S_IFCHR | 0o620, os.makedev(1, script.chance.choice([3, 5, 300])))
    return path


def _remove(path: bytes) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


EDITS: dict[str, Callable[[_Script], object]] = {
    one.__name__: one
    for one in (
        create, modify, truncate, delete, chmod, chown, touch, link, rename, replace, make_directory, file_to_directory,
        directory_to_file, directory_anew, symlink, directory_to_symlink, xattr, capability, fifo, device,
    )
}  # fmt: skip
