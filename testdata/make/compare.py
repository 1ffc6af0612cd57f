"""Print where two file systems differ: compare.py DIRECTORY DIRECTORY|EXPORT.tar

Compares what `docker export` can tell: paths, types, modes, owners, whole seconds, content, links, file capabilities.
"""

import hashlib
import os
import stat
import sys
import tarfile

# What an engine puts into every container.
OURS = {"/.dockerenv", "/dev", "/dev/console", "/dev/pts", "/dev/shm", "/etc", "/etc/hostname", "/etc/hosts", "/etc/mtab",
        "/etc/resolv.conf", "/proc", "/sys"}
TYPES = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink",
         tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}


def groups(tree, inodes):
    for paths in inodes.values():
        for path in paths:
            tree[path]["links"] = sorted(set(paths) - {path})
    return tree


def of_directory(root):
    tree, inodes = {}, {}
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
             stat.S_IFBLK: "block", stat.S_IFIFO: "fifo"}
    for base, dirs, files in os.walk(os.fsencode(root)):
        for name in dirs + files:
            full = os.path.join(base, name)
            path = "/" + os.fsdecode(os.path.relpath(full, os.fsencode(root)))
            s = os.lstat(full)
            kind = kinds[stat.S_IFMT(s.st_mode)]
            tree[path] = {
                "type": kind, "mode": stat.S_IMODE(s.st_mode), "uid": s.st_uid, "gid": s.st_gid, "mtime": s.st_mtime_ns // 10**9,
                "content": hashlib.sha256(open(full, "rb").read()).hexdigest() if kind == "file" else None,
                "target": os.fsdecode(os.readlink(full)) if kind == "symlink" else None,
                "device": (os.major(s.st_rdev), os.minor(s.st_rdev)) if kind in ("char", "block") else None,
                "capability": os.getxattr(full, "security.capability") if kind == "file"
                and "security.capability" in os.listxattr(full) else None,
                "links": []}
            if kind != "dir":
                inodes.setdefault(s.st_ino, []).append(path)
    return groups(tree, inodes)


def of_tar(path):
    tree, first = {}, {}
    with tarfile.open(path, errors="surrogateescape") as tar:
        for m in tar:
            path = "/" + os.path.normpath(m.name)
            if m.type == tarfile.LNKTYPE:
                target = "/" + os.path.normpath(m.linkname)
                tree[path] = dict(tree[target])
                first[target].append(path)
                first[path] = first[target]
                continue
            capability = m.pax_headers.get("SCHILY.xattr.security.capability")
            kind = TYPES[m.type]
            tree[path] = {
                "type": kind, "mode": m.mode & 0o7777, "uid": m.uid, "gid": m.gid, "mtime": int(m.mtime // 1),
                "content": hashlib.sha256(tar.extractfile(m).read()).hexdigest() if kind == "file" else None,
                "target": m.linkname if kind == "symlink" else None,
                "device": (m.devmajor, m.devminor) if kind in ("char", "block") else None,
                "capability": capability and capability.encode("utf-8", "surrogateescape"), "links": []}
            first[path] = [path]
    tree.pop("/.", None)
    return groups(tree, {id(paths): paths for paths in first.values() if paths[0] in tree})


a = of_directory(sys.argv[1])
b = (of_directory if os.path.isdir(sys.argv[2]) else of_tar)(sys.argv[2])
for path in sorted(a.keys() | b.keys()):
    if path not in a or path not in b:
        if path not in OURS or path in a:
            print(f"{path!a}: only in the {'first' if path in a else 'second'}")
        continue
    for field, value in a[path].items():
        if value != b[path][field] and not (path in OURS and field in ("mtime", "mode")):
            print(f"{path!a}: {field}: {value!a} and {b[path][field]!a}")
