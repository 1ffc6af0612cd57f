"""A small image with busybox, what a container of it does to its files, and the engine's own account of that (export)."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

from ocitool.layers.entry import Entry
from support.images import Image, config_of, entry, image, layer_tar

TIME = 1_577_934_245_678_000_000
"""When everything in the image was changed, in nanoseconds: the archives of an engine drop the fraction."""
PROGRAMS = ("sh ls cat mkdir rm cp mv ln chmod chown touch sleep find mkfifo echo date dd nc test printf rmdir mknod").split()  # noqa: SIM905

AnyEntry = tuple[Entry, bytes]


def base_image(name: str, *, big: bytes = b"big " * 100_000) -> Image:
    """An image of three layers for `docker load`, with a volume at /data."""
    busybox = Path("/bin/busybox").read_bytes()
    low: list[AnyEntry] = [
        entry(path, None) for path in (
            "bin", "data", "dev", "empty", "etc", "home", "home/u", "opt", "opt/dir2file", "opt/gone", "opt/replace", "run",
            "tmp", "usr", "usr/lib", "usr/lib/deep", "usr/lib/deep/er", "var", "var/log",
        )
    ]  # fmt: skip
    low += [entry("bin/busybox", busybox, mode=0o755), *(entry(f"bin/{one}", "link:busybox") for one in PROGRAMS)]
    low += [
        entry("etc/passwd", b"root:x:0:0::/:/bin/sh\n"), entry("etc/motd", b"hi\n"), entry("home/u/with space", b"a b"),
        entry(b"home/u/latin\xe9", b"one"), entry(b"home/u/latin\xe8", b"two"), entry(b"home/u/stays\xe8", b"three"),
        entry("home/u/chmodme", b"mode"), entry("home/u/chownme", b"owner"), entry("home/u/touchme", b"touch"),
        entry("opt/f2d", b"file"), entry("opt/s2f", "link:/etc/motd"), entry("opt/f2s", b"file"),
        entry("var/run", "link:../run"),
        entry("usr/lib/a", b"linked"), entry("usr/lib/b", "hard:usr/lib/a"), entry("usr/lib/c", "hard:usr/lib/a"),
        entry("usr/lib/deep/big", big), entry("usr/lib/deep/er/one", b"1"), entry("usr/lib/deep/marked", b"own mark",
        xattrs=((b"user.mark", b"kept"),)),
    ]  # fmt: skip
    for place in ("opt/gone", "opt/replace", "opt/dir2file"):
        low += [entry(f"{place}/{name}", name.encode()) for name in ("f1", "f2")]
        low += [entry(f"{place}/sub", None), entry(f"{place}/sub/f3", b"3")]
    middle = [entry("etc", None), entry("etc/second", b"second\n"), entry("etc/motd", b"hi again\n")]
    top = [entry("srv", None), entry("srv/page", b"<p>", mode=0o600)]
    tars = [layer_tar([(one._replace(mtime=TIME), content) for one, content in each]) for each in (low, middle, top)]
    settings = {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "Volumes": {"/data": {}}}
    return image(tars, tag=name, codec="none", config=config_of(tars, config=settings))


CHANGES = """
set -e
echo new > /etc/new; echo changed >> /etc/motd; rm /opt/gone/f1
rm -rf /opt/replace; mkdir /opt/replace; echo n > /opt/replace/n
rm -rf /opt/gone; mkdir /opt/gone
rm -rf /opt/dir2file; echo file > /opt/dir2file
rm /opt/f2d; mkdir /opt/f2d; echo c > /opt/f2d/c
rm /opt/s2f; echo plain > /opt/s2f; rm /opt/f2s; ln -s /etc/motd /opt/f2s
rm /usr/lib/b; chmod 640 /usr/lib/a
mkdir -p /srv/tree/sub; echo 1 > /srv/tree/one; ln /srv/tree/one /srv/tree/sub/two; ln /srv/tree/one /home/u/three
ln /usr/lib/deep/big /usr/lib/deep/er/big
echo e > "/home/u/new space é"; echo nl > "/home/u/new
line"
chmod 4755 /home/u/chmodme; chown 12:34 /home/u/chownme; touch -d '2021-01-01 00:00:00' /home/u/touchme
mkdir /empty/dir; mkfifo /srv/fifo; cp /bin/busybox /srv/setuid; chmod 4711 /srv/setuid; chmod 1777 /tmp
echo v > /data/volume-file; echo r > /var/run/pidfile; ln -s /nowhere /srv/dangling; rm -rf /var/log
echo latin > "$(printf '/home/u/new\\351')"; rm "$(printf '/home/u/latin\\350')"; echo more >> "$(printf '/home/u/latin\\351')"
"""
"""What a container does: each kind of change that a file system can have."""


def exported(data: bytes) -> dict[str, tuple[object, ...]]:
    """Each path of a `docker export` with type, mode, owner, whole seconds, link target, content, and all of its names. What an
    engine puts into every container is left out."""
    found: dict[str, tuple[object, ...]] = {}
    names: dict[str, list[str]] = {}
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        for member in tar:
            name = member.name.rstrip("/")
            if member.islnk():
                names.setdefault(member.linkname, [member.linkname]).append(name)
                continue
            held = tar.extractfile(member) if member.isreg() else None
            content = hashlib.sha256(held.read()).hexdigest() if held is not None else None
            mode = None if member.issym() else member.mode & 0o7777
            found[name] = (member.type, mode, member.uid, member.gid, int(member.mtime), member.linkname, content)
    for first, all_names in names.items():
        for name in all_names:
            found[name] = (*found[first], tuple(sorted(all_names)))
    made = (".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab")
    return {
        name: (*facts[:4], None, *facts[5:]) if name == "etc" else facts for name, facts in found.items()
        if name not in made and name.partition("/")[0] not in ("dev", "proc", "sys")
    }  # fmt: skip
