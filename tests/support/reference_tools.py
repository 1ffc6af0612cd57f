"""Reference tools: the file systems that other tools make of an image, as plain values, and how ours is compared with them.

umoci, as root, shows everything; `docker export` gives whole seconds and, of the xattrs, `security.capability` alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocitool.errors import OcitoolError
from ocitool.images.image import Image
from ocitool.images.platform_choice import single
from ocitool.layers.cache import IndexCache
from ocitool.layers.entry import Kind
from ocitool.layers.scan import open_content
from ocitool.task import Task
from ocitool.transports.opening import open_source
from ocitool.trees.indexing import Indexer
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree

ROOT = Path(__file__).resolve().parents[2]
FileSystem = dict[bytes, dict[str, Any]]

NOW = "a parent that no layer lists: umoci's has the time of unpacking, ours the epoch"
KNOWN_DIFFERENCES: dict[tuple[str, str, bytes, str], str] = {
    ("umoci", "testdata/links-across.tar", b"missing", "mtime"): NOW,
    ("umoci", "testdata/links-across.tar", b"missing/parent", "mtime"): NOW,
    ("umoci", "testdata/empty-layers.tar", b"v7", "mtime"): NOW,
}
"""(tool, image, path, field) -> why the tool has another value there. An entry that no longer occurs fails the test."""

DOCKERS_OWN = {b".dockerenv", b"dev", b"dev/console", b"dev/pts", b"dev/shm", b"etc", b"etc/hostname", b"etc/hosts",
               b"etc/mtab", b"etc/resolv.conf", b"proc", b"sys"}  # fmt: skip
"""What an engine puts into every container: ignored where the image has no such path, and its time where it has."""

MASKED = {b"dev/console", b"etc/hostname", b"etc/hosts", b"etc/mtab", b"etc/resolv.conf"}
"""Those of them that it mounts or links something of its own over, whatever the image has there."""

KINDS = {Kind.FILE: "file", Kind.DIRECTORY: "directory", Kind.SYMLINK: "link", Kind.CHAR: "char", Kind.BLOCK: "block",
         Kind.FIFO: "fifo", Kind.HARDLINK: "broken"}  # fmt: skip
STAT_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFCHR: "char",
              stat.S_IFBLK: "block", stat.S_IFIFO: "fifo"}  # fmt: skip
TAR_KINDS = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link",
             tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}  # fmt: skip


def ours(image: Image, task: Task) -> FileSystem:
    """Our merged tree, without its root."""
    tree = Tree(Indexer(IndexCache(None), task).indexes(image))
    found: FileSystem = {}
    for path, node in tree.walk():
        ref = node.ref if isinstance(node, Directory) else node
        entry = tree.entry(ref)
        is_file = entry.kind == Kind.FILE
        content = None
        if is_file:
            blob = image.layers[tree.layer(tree.inode(ref))].blob
            assert blob is not None
            data = b"".join(open_content(blob, entry))
            content = (len(data), hashlib.sha256(data).hexdigest())
        links = [] if isinstance(node, Directory) else tree.links(node)
        found[path] = {
            "type": KINDS[entry.kind], "mode": None if entry.kind == Kind.SYMLINK else entry.mode, "uid": entry.uid,
            "gid": entry.gid, "mtime": entry.mtime, "content": content,
            "target": entry.link if entry.kind == Kind.SYMLINK else None, "links": [p for p in links if p != path],
            "device": entry.device, "xattrs": dict(entry.xattrs or ()),
        }  # fmt: skip
    return found


def of_directory(root: bytes) -> FileSystem:
    """What lies on disk below `root`."""
    found: FileSystem = {}
    inodes: dict[int, list[bytes]] = {}
    for base, directories, files in os.walk(root):
        for name in directories + files:
            full = os.path.join(base, name)
            path = os.path.relpath(full, root)
            status = os.lstat(full)
            kind = STAT_KINDS[stat.S_IFMT(status.st_mode)]
            content = None
            if kind == "file":
                data = Path(os.fsdecode(full)).read_bytes()
                content = (len(data), hashlib.sha256(data).hexdigest())
            xattrs = {os.fsencode(x): os.getxattr(full, x, follow_symlinks=False)
                      for x in os.listxattr(full, follow_symlinks=False)}  # fmt: skip
            xattrs.pop(b"security.selinux", None)
            found[path] = {
                "type": kind, "mode": None if kind == "link" else stat.S_IMODE(status.st_mode), "uid": status.st_uid,
                "gid": status.st_gid, "mtime": status.st_mtime_ns, "content": content,
                "target": os.readlink(full) if kind == "link" else None, "links": [],
                "device": (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in ("char", "block") else None,
                "xattrs": xattrs,
            }  # fmt: skip
            if kind != "directory":
                inodes.setdefault(status.st_ino, []).append(path)
    _join(found, inodes.values())
    return found


def of_export(archive: Path) -> FileSystem:
    """What a tar of `docker export` holds."""
    found: FileSystem = {}
    groups: dict[bytes, list[bytes]] = {}
    with tarfile.open(archive, errors="surrogateescape") as tar:
        for member in tar:
            path = os.fsencode(os.path.normpath(member.name))
            if path == b".":
                continue
            if member.type == tarfile.LNKTYPE:
                target = os.fsencode(os.path.normpath(member.linkname))
                found[path] = dict(found[target])
                groups[target].append(path)
                groups[path] = groups[target]
                continue
            kind = TAR_KINDS[member.type]
            content = None
            if kind == "file":
                file = tar.extractfile(member)
                assert file is not None
                data = file.read()
                content = (len(data), hashlib.sha256(data).hexdigest())
            capability = member.pax_headers.get("SCHILY.xattr.security.capability")
            found[path] = {
                "type": kind, "mode": None if kind == "link" else member.mode & 0o7777, "uid": member.uid, "gid": member.gid,
                "mtime": int(member.mtime // 1), "content": content,
                "target": os.fsencode(member.linkname) if kind == "link" else None, "links": [],
                "device": (member.devmajor, member.devminor) if kind in ("char", "block") else None,
                "xattrs": {b"security.capability": os.fsencode(capability)} if capability else {},
            }  # fmt: skip
            groups[path] = [path]
    _join(found, groups.values())
    return found


def _join(found: FileSystem, groups: Any) -> None:
    for group in groups:
        for path in group:
            found[path]["links"] = sorted(set(group) - {path})


def coarse(found: FileSystem) -> FileSystem:
    """What an export can tell of it."""
    return {
        path: {
            **fields,
            "mtime": fields["mtime"] // 1_000_000_000,
            "xattrs": {k: v for k, v in fields["xattrs"].items() if k == b"security.capability"},
        }
        for path, fields in found.items()
    }


def differences(tool: str, name: str, we: FileSystem, they: FileSystem) -> list[str]:
    """Returns what a tool has otherwise, and the known differences of this image that do not occur."""
    messages = []
    expected = {key[2:] for key in KNOWN_DIFFERENCES if key[:2] == (tool, name)}
    for path in sorted(we.keys() | they.keys()):
        if path not in we or path not in they:
            if tool == "docker" and path in DOCKERS_OWN and path not in we:
                continue
            messages.append(f"{path!r}: only {'ocitool' if path in we else tool} has it")
            continue
        for field, value in we[path].items():
            if tool == "docker" and (path in MASKED or (path in DOCKERS_OWN and field == "mtime")):
                continue
            if value != they[path][field]:
                if (path, field) in expected:
                    expected.discard((path, field))
                    continue
                messages.append(f"{path!r}: {field}: ocitool {value!r}, {tool} {they[path][field]!r}")
    messages += [f"{path!r}: {field}: a known difference that does not occur" for path, field in expected]
    return messages


def portable() -> list[str]:
    """The images on which all reference tools agree: references from the root of the repository."""
    return (ROOT / "testdata/portable.txt").read_text().split("\n")[:-1]


def reference(line: str) -> str:
    """A line of portable.txt from the root of the repository, wherever the tests run."""
    transport, colon, rest = line.partition(":") if line.startswith("oci-archive:") else ("", "", line)
    return f"{transport}{colon}{ROOT / rest}"


def diff_ids(line: str, task: Task) -> tuple[str, ...] | None:
    try:
        image = single(open_source(reference(line), "layers", task), None)
    except OcitoolError:
        return None  # its own test says so
    return tuple(str(layer.diff_id) for layer in image.layers)


def distinct() -> list[str]:
    """The lines whose image no earlier line has."""
    chosen: dict[object, str] = {}
    with Task() as task:
        for line in portable():
            chosen.setdefault(diff_ids(line, task) or line, line)
    return list(chosen.values())


def skopeo_name(line: str) -> str:
    """The line as skopeo spells it."""
    with Task() as task:
        source = open_source(reference(line), "documents", task).source
    return reference(line) if line.startswith("oci-archive:") else f"{source.transport.name}:{reference(line)}"


def run(*command: str | os.PathLike[str]) -> None:
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}"


def of_umoci(layout: str, place: Path) -> FileSystem:
    """What umoci, as root, unpacks of an image of a layout, named `DIR:TAG`; `place` is a new directory."""
    run("umoci", "raw", "unpack", "--image", layout, place)  # without the bundle, for which /etc/passwd must name the user
    found = of_directory(os.fsencode(place))
    shutil.rmtree(place)
    return found


def of_container(docker: Callable[..., Any], name: str, export: Path) -> FileSystem:
    """What an engine exports of a container of a loaded image; the engine keeps neither."""
    # The working directory would be made, or the container refused where that is something else by now.
    container = docker("create", "--workdir", "/", name, "/none").stdout.decode().strip()
    docker("export", "-o", export, container)
    docker("rm", container)
    found = of_export(export)
    export.unlink()
    return found


ODD = ["testdata/whiteouts-umoci.tar", "testdata/links-across.tar", "testdata/dialects.tar", "testdata/empty-layers.tar"]
"""Not portable, since engines differ on them, but umoci unpacks them."""
