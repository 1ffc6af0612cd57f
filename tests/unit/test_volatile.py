"""The table of volatile paths: what is in it, what never is, and in what contents may differ."""

from __future__ import annotations

import marshal
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocitool.globs import Matcher
from ocitool.masking.files import secret_path
from ocitool.volatile import BY_NAME, CLASSES, essence, volatile_class, volatile_place

KNOWN = {
    "apt-lists": ("var/lib/apt/lists/debian_dists_bookworm_main_binary-amd64_Packages", "var/lib/apt/lists/lock"),
    "apt-cache": ("var/cache/apt/pkgcache.bin", "var/cache/apt/archives/lock"),
    "dnf-cache": ("var/cache/dnf/fedora.solv", "var/lib/dnf/history.sqlite-wal", "var/cache/yum/x86_64/7/base/repomd.xml"),
    "apk-cache": ("var/cache/apk/APKINDEX.0123abcd.tar.gz", "etc/apk/cache/musl-1.2.apk"),
    "ldconfig-cache": ("var/cache/ldconfig/aux-cache",),
    "library-cache": ("etc/ld.so.cache",),
    "desktop-cache": ("var/cache/fontconfig/0c9e-le64.cache-7", "usr/share/icons/hicolor/icon-theme.cache"),
    "cache": ("var/cache/nginx/anything",),
    "package-log": ("var/log/dpkg.log", "var/log/apt/term.log", "var/log/dnf.rpm.log"),
    "bootstrap-log": ("var/log/bootstrap.log",),
    "log": ("var/log/btmp", "var/log/private/x.log"),
    "bytecode": ("usr/lib/python3/dist-packages/a/__pycache__/b.cpython-311.pyc", "app/legacy.pyc"),
    "package-database": ("var/lib/dpkg/status", "lib/apk/db/installed", "usr/lib/sysimage/rpm/rpmdb.sqlite"),
    "package-backup": ("var/lib/dpkg/status-old", "var/lib/dpkg/triggers/Lock"),
    "account-date": ("etc/shadow", "etc/shadow-"),
    "machine-id": ("etc/machine-id", "var/lib/dbus/machine-id"),
    "builder-file": ("etc/resolv.conf", "etc/hosts", "etc/hostname", ".dockerenv"),
    "random-seed": ("var/lib/systemd/random-seed",),
    "pip-cache": ("root/.cache/pip/http/a/b/c", "home/app/.cache/uv/wheels-v0/x"),
    "npm-cache": ("root/.npm/_cacache/index-v5/a", "root/.npm/_logs/2026-01-01T00_00_00_000Z-debug-0.log"),
    "build-cache": ("root/.cache/go-build/00/0a-d",),
    "temporary": ("tmp/tmpab12cd/x", "tmp/npm-1-abc/y"),
    "history": ("root/.bash_history", "home/app/.wget-hsts"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in KNOWN.items() for path in paths])
def test_a_class_has_the_paths_that_builds_leave(name: str, path: str) -> None:
    found = volatile_place(path.encode())
    assert found is not None
    assert BY_NAME[name] is found.kind
    assert found.glob in found.kind.globs
    assert Matcher([found.glob]).matches(path.encode())


@pytest.mark.parametrize(
    "path",
    ["etc/passwd", "etc/group", "etc/sudoers.d/x", "etc/ld.so.preload", "etc/ld.so.conf", "etc/apt/sources.list",
     "etc/apt/trusted.gpg.d/x.gpg", "usr/bin/python3", "usr/local/bin/tmpx", "usr/lib/x86_64-linux-gnu/libc.so.6", "bin/sh",
     "etc/ssl/private/server.key", "root/.ssh/id_ed25519", "root/.ssh/authorized_keys", "root/.npmrc", "run/secrets/token",
     "var/cache/app/server.key", "root/.cache/pip/credentials", "var/log/app/id_rsa", "tmp/tmpx/.env", "tmp/install.sh",
     "var/lib/dpkg/info/bash.postinst", "var/lib/dpkg/diversions", "var/lib/apt/extended_states", "srv/app/main.py",
     "app/var/log/x", "var/logs/x", "home/app/.profile", "root/.bashrc", "etc/crontab", "etc/hosts.allow", "var/www/index.html",
     "usr/share/doc/x/copyright", "root/.cache/other/x", "var/lib/postgresql/data/base/1", "etc/shadow.bak", ""],
)  # fmt: skip
def test_what_decides_about_rights_programs_or_data_is_in_no_class(path: str) -> None:
    assert None is volatile_class(path.encode())


@given(st.sampled_from(["usr/bin/", "usr/sbin/", "bin/", "etc/ssl/", "etc/ssh/", "srv/", "opt/", "usr/lib/", "usr/local/"]),
       st.binary(max_size=40))  # fmt: skip
def test_below_directories_of_programs_and_keys_there_are_only_compiled_files_and_databases(head: str, tail: bytes) -> None:
    found = volatile_class(head.encode() + tail)
    assert found is None or found.rule in ("pyc", "packages")


@given(st.binary(max_size=30).filter(lambda data: b"/" not in data))
def test_no_key_is_volatile_in_any_directory(stem: bytes) -> None:
    for kind in CLASSES:
        for glob in kind.globs:
            if glob.endswith("/**"):
                found = volatile_class(glob[1:-2].replace("*", "x").encode() + stem + b".key")
                assert found is None or found.rule == "packages"


@given(st.text(st.sampled_from("abt./*-x"), max_size=30), st.sampled_from([""] + [g for one in CLASSES for g in one.globs]))
def test_a_class_matches_what_its_globs_match(text: str, glob: str) -> None:
    path = (glob.replace("**", text).replace("*", "x") or text).strip("/").encode()
    wanted = next((one for one in CLASSES if Matcher(one.globs).matches(path)), None)
    found = volatile_class(path)
    assert found is wanted or (found is None and wanted is not None and secret_path(path))


def test_each_class_says_what_it_is_and_paths_belong_to_one_class() -> None:
    assert len(CLASSES) == len(BY_NAME)
    assert set(KNOWN) == set(BY_NAME) - {"man-cache"}
    for one in CLASSES:
        assert one.text and not one.text.endswith("."), one.name
        assert len(one.fix) <= 52, one.name  # a row of the text report in 80 columns
        assert all(glob.startswith(("/", "**/*.")) for glob in one.globs), one.name


def test_a_path_of_any_length_is_told_in_linear_time() -> None:
    began = time.process_time()
    for head in (b"var/log/", b"home/", b"tmp/tmp", b""):
        for part in (b"a" * 100_000, b"a/" * 50_000, b".pyc/" * 20_000, b".cache/pip/" * 9_000):
            volatile_class(head + part)
            volatile_class(head + part + b".pyc")
    assert time.process_time() - began < 2


def test_a_million_paths_are_told_apart_in_linear_time() -> None:
    def taken(count: int) -> float:
        paths = [b"usr/share/doc/package%d/README" % number for number in range(count)]
        began = time.process_time()
        assert not any(map(volatile_class, paths))
        return time.process_time() - began

    taken(100)
    assert taken(100_000) < 1.0


# Contents


def pyc(source_time: int, size: int = 10, code: object = "code", flags: int = 0, magic: bytes = b"\xa7\r\r\n") -> bytes:
    return magic + struct.pack("<III", flags, source_time, size) + marshal.dumps(code)


def test_compiled_python_may_differ_in_the_time_and_size_of_its_source_alone() -> None:
    assert essence("pyc", pyc(1)) == essence("pyc", pyc(2, size=11))
    assert essence("pyc", pyc(1)) != essence("pyc", pyc(1, code="mode"))
    assert essence("pyc", pyc(1)) != essence("pyc", pyc(1, magic=b"\xcb\r\r\n"))
    assert essence("pyc", pyc(1)) != essence("pyc", pyc(1, flags=1))
    assert essence("pyc", pyc(1, flags=1)) != essence("pyc", pyc(2, flags=1))  # the hash of its source
    assert None is essence("pyc", b"\0short")


def test_shadow_may_differ_in_the_day_of_the_last_change_alone() -> None:
    line = b"root:*:19700:0:99999:7:::\nworker:!:%d:0:99999:7:::\n"
    assert essence("shadow", line % 20000) == essence("shadow", line % 20001)
    assert essence("shadow", line % 20000) != essence("shadow", line.replace(b"!", b"") % 20000)
    assert essence("shadow", line % 20000) != essence("shadow", line % 20000 + b"evil::20000:0:99999:7:::\n")
    assert essence("shadow", b"a:b") != essence("shadow", b"a:b:c:d")


def library_cache(*entries: tuple[bytes, bytes], gap: int = 0) -> bytes:
    texts, table = bytearray(gap), b""
    start = 48 + 24 * len(entries)
    for name, path in entries:
        at = start + len(texts)
        texts += name + b"\0" + path + b"\0"
        table += struct.pack("<iIIIQ", 3, at, at + len(name) + 1, 0, 0)
    return b"glibc-ld.so.cache1.1" + struct.pack("<II", len(entries), len(texts)) + bytes(20) + table + texts


def test_the_loaders_cache_may_differ_in_the_place_of_its_strings_alone() -> None:
    c, m = (b"libc.so.6", b"/lib/libc.so.6"), (b"libm.so.6", b"/lib/libm.so.6")
    assert essence("ld-cache", library_cache(c, m)) == essence("ld-cache", library_cache(c, m, gap=7))
    assert essence("ld-cache", library_cache(c, m)) != essence("ld-cache", library_cache(m, c))
    assert essence("ld-cache", library_cache(c)) != essence("ld-cache", library_cache((c[0], b"/tmp/libc.so.6")))
    assert None is essence("ld-cache", b"ld.so-1.7.0")
    assert None is essence("ld-cache", library_cache(c)[:60])


@given(st.sampled_from(["pyc", "ld-cache", "shadow"]), st.binary(max_size=200))
def test_any_bytes_can_be_asked(rule: object, content: bytes) -> None:
    found = essence(rule, content)  # type: ignore[arg-type]
    assert found is None or len(found) == 32
    prefixed = essence(rule, b"glibc-ld.so.cache1.1" + content)  # type: ignore[arg-type]
    assert prefixed is None or len(prefixed) == 32


def test_the_cache_of_this_machine_is_read() -> None:
    here = Path("/etc/ld.so.cache")
    if not here.exists() or b"glibc-ld.so.cache1.1" not in here.read_bytes():
        pytest.skip("this machine has no such cache")
    assert essence("ld-cache", here.read_bytes()) is not None
