"""What the schemas accept and refuse: one law a test, one row a document."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocitool.spec.schema import KINDS, URN, SchemaViolation, load, problems

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
REPORTS = ("report-inspect", "report-diff", "report-validate", "report-ls", "report-written", "report-unpack", "report-layout",
           "report-tags", "report-catalog", "report-dedupe", "report-engine-containers", "report-engine-df",
           "report-volume", "report-budget", "report-packages")  # fmt: skip
OWN_FILES = ("snapshot",)  # described for people and tests; the program never runs these on a document
NAMES = sorted(file.stem for file in SCHEMAS.glob("*.json"))

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
GONE: Any = object()  # in a change: take the field away


def fresh(value: Any) -> Any:
    """A copy that shares nothing, not even inside itself; deepcopy keeps one object used twice as one."""
    if isinstance(value, dict):
        return {name: fresh(part) for name, part in value.items()}
    return [fresh(part) for part in value] if isinstance(value, list) else value


def changed(document: Any, **fields: Any) -> Any:
    """A copy of `document` with fields replaced; `a__b` is field b of field a, `a__0` item 0 of list a."""
    document = fresh(document)
    for name, value in fields.items():
        *path, last = [int(part) if part.isdigit() else part for part in name.split("__")]
        at = document
        for part in path:
            at = at[part]
        if value is GONE:
            del at[last]
        else:
            at[last] = value
    return document


# ------------------------------------------------------------------------------------------------ documents

LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": A, "size": 3}
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": B, "size": 2}
EMPTY = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "size": 2,
    "data": "e30=",
}
PLATFORM = {"os": "linux", "architecture": "amd64"}
ENTRY = {
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "digest": A,
    "size": 7,
    "platform": PLATFORM,
}
MANIFEST = {"schemaVersion": 2, "config": CONFIG, "layers": [LAYER]}
INDEX = {"schemaVersion": 2, "manifests": [ENTRY]}
IMAGE = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [A, B]}}
DOCKER = "application/vnd.docker."
DOCKER_MANIFEST = {
    "schemaVersion": 2,
    "mediaType": DOCKER + "distribution.manifest.v2+json",
    "config": {"mediaType": DOCKER + "container.image.v1+json", "digest": A, "size": 1},
    "layers": [{"mediaType": DOCKER + "image.rootfs.diff.tar.gzip", "digest": B, "size": 1}],
}
DOCKER_LIST = {
    "schemaVersion": 2,
    "mediaType": DOCKER + "distribution.manifest.list.v2+json",
    "manifests": [changed(ENTRY, mediaType=DOCKER + "distribution.manifest.v2+json")],
}
SAVED = {"Config": "a.json", "RepoTags": ["app:1"], "Layers": ["b/layer.tar"]}


def image(**config: Any) -> Any:
    return changed(IMAGE, config=config)


ACCEPTED: dict[str, dict[str, Any]] = {
    "descriptor": {
        "the three required fields": LAYER,
        "unknown fields": changed(LAYER, x=[1, {"y": None}]),
        "an unknown media type": changed(LAYER, mediaType="model/vnd.acme.x!#$&-^_.+y"),
        "a docker media type": changed(LAYER, mediaType=DOCKER + "image.rootfs.diff.tar.gzip"),
        "a name of 127 characters": changed(LAYER, mediaType="a" * 127 + "/" + "b" * 127),
        "sha512": changed(LAYER, digest="sha512:" + "0" * 128),
        "an unregistered algorithm": changed(LAYER, digest="multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdB"),
        "an algorithm that begins like sha256": changed(LAYER, digest="sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNC=-"),
        "size 0": changed(LAYER, size=0),
        "the largest size": changed(LAYER, size=2**63 - 1),
        "urls": changed(LAYER, urls=["https://example.com/a%20b?c=[d]#e", "urn:x:y", "ftp://[::1]/"]),
        "the empty descriptor with its data": EMPTY,
        "empty data": changed(LAYER, data=""),
        "data beyond the pattern's chunk": changed(LAYER, data="QUJD" * 5000 + "QQ=="),
        "an artifact type": changed(LAYER, artifactType="application/x"),
        "annotations": changed(LAYER, annotations={"a": "", "": "b"}),
        "a platform with all fields": changed(
            LAYER,
            platform={
                **PLATFORM,
                "variant": "v8",
                "os.version": "10.0",
                "os.features": ["win32k"],
                "features": [],
            },
        ),
        "an attestation's platform": changed(LAYER, platform={"os": "unknown", "architecture": "unknown"}),
    },
    "manifest": {
        "no top-level media type": MANIFEST,
        "its media type": changed(MANIFEST, mediaType="application/vnd.oci.image.manifest.v1+json"),
        "no layers": changed(MANIFEST, layers=[]),
        "one layer twice": changed(MANIFEST, layers=[LAYER, LAYER]),
        "a subject, annotations, unknown fields": changed(MANIFEST, subject=ENTRY, annotations={"a": "b"}, x=1),
        "docker media types in the descriptors": changed(
            MANIFEST, config=DOCKER_MANIFEST["config"], layers=DOCKER_MANIFEST["layers"]
        ),
        "an artifact": changed(MANIFEST, config=EMPTY, layers=[EMPTY], artifactType="application/x.y+json"),
        "an artifact with a config of its own": changed(MANIFEST, config__mediaType="application/vnd.helm+json"),
    },
    "index": {
        "one manifest": INDEX,
        "no manifests": changed(INDEX, manifests=[]),
        "its media type": changed(INDEX, mediaType="application/vnd.oci.image.index.v1+json"),
        "a nested index and an unknown type": changed(
            INDEX,
            manifests=[
                changed(ENTRY, mediaType="application/vnd.oci.image.index.v1+json", platform=GONE),
                changed(ENTRY, mediaType="application/xml", artifactType="a/b"),
            ],
        ),
        "a subject, an artifact type, annotations": changed(INDEX, subject=ENTRY, artifactType="a/b", annotations={}, x=None),
    },
    "config": {
        "the required fields": IMAGE,
        "no layers": changed(IMAGE, rootfs__diff_ids=[]),
        "every optional field null": changed(
            IMAGE,
            **dict.fromkeys(["created", "author", "variant", "config", "history", "os.version"]),
            x=None,
        ),
        "every optional field of config null": image(
            **dict.fromkeys(["User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir"]),
            **dict.fromkeys(["Labels", "StopSignal", "ArgsEscaped", "OnBuild", "Healthcheck"]),
        ),
        "a full config": image(
            User="0:0",
            ExposedPorts={"80/tcp": {}, "53/udp": {}, "1": {}},
            Env=["A=", "B=c=d", "C=line\nline", "é=1"],
            Entrypoint=["/bin/sh", "-c"],
            Cmd=[],
            Volumes={"/data": {}},
            WorkingDir="",
            Labels={"a": ""},
            StopSignal="SIGTERM",
            ArgsEscaped=True,
            Healthcheck={"Test": ["NONE"]},
        ),
        "history": changed(
            IMAGE,
            history=[{}, {"created": "1970-01-01T00:00:00Z", "created_by": "x", "empty_layer": True, "x": 1}],
        ),
        **{
            f"created {time}": changed(IMAGE, created=time)
            for time in (
                "2015-10-31T22:22:56.015925234Z",
                "2015-10-31t22:22:56z",
                "0001-01-01T00:00:00Z",
                "0000-02-29T00:00:00Z",
                "2024-02-29T23:59:59.1+23:59",
                "2016-12-31T23:59:60Z",
                "2017-01-01T08:59:60.5+09:00",
                "2016-12-31T18:59:60-05:00",
            )
        },
    },
    "layout": {
        "the version": {"imageLayoutVersion": "1.0.0"},
        "unknown fields": {"imageLayoutVersion": "1.0.0", "x": []},
    },
    "docker-manifest": {
        "as a registry has it": DOCKER_MANIFEST,
        "a foreign layer": changed(DOCKER_MANIFEST, layers__0__urls=["https://example.com/x"]),
        "a plugin": changed(DOCKER_MANIFEST, config__mediaType=DOCKER + "plugin.v1+json"),
    },
    "docker-manifest-list": {
        "as a registry has it": DOCKER_LIST,
        "features": changed(DOCKER_LIST, manifests__0__platform__features=["sse4"]),
        "no manifests": changed(DOCKER_LIST, manifests=[]),
    },
    "docker-archive-manifest": {
        "as docker saves it": [SAVED],
        "no tags, null": [changed(SAVED, RepoTags=None)],
        "no tags, absent": [changed(SAVED, RepoTags=GONE)],
        "no layers, null": [changed(SAVED, Layers=None)],
        "several images": [SAVED, changed(SAVED, RepoTags=[])],
        "a parent, layer sources, unknown fields": [{**SAVED, "Parent": A, "LayerSources": {A: LAYER}, "x": 1}],
        "docker 25": [changed(SAVED, Config="blobs/sha256/" + "a" * 64, Layers=["blobs/sha256/" + "b" * 64])],
    },
}

# For each: the document, then every pointer at which there must be a problem.
REFUSED: dict[str, dict[str, tuple[Any, list[str]]]] = {
    "descriptor": {
        "no object": ([], [""]),
        "null": (None, [""]),
        "nothing": ({}, ["", "", ""]),
        **{
            f"media type {text[:20]!r}": (changed(LAYER, mediaType=text), ["/mediaType"])
            for text in (
                "",
                "a",
                "a/",
                "/b",
                "a/b/c",
                "a/b; c=d",
                "-a/b",
                "a b/c",
                "a/b\n",
                "a/" + "b" * 128,
                "ä/b",
            )
        },
        **{
            f"digest {text[:20]!r}": (changed(LAYER, digest=text), ["/digest"])
            for text in (
                "",
                "sha256",
                "sha256:",
                "a" * 64,
                "sha256:" + "a" * 63,
                "sha256:" + "a" * 65,
                "sha256:" + "A" * 64,
                "sha512:" + "a" * 64,
                "SHA256:" + "a" * 64,
                "sha256:" + "a" * 64 + "\n",
                "sha256:../../etc/passwd",
                "md5:a:b",
                "+a:b",
                "a+:b",
                "a+.b:c",
                "x y:z",
            )
        },
        "a negative size": (changed(LAYER, size=-1), ["/size"]),
        "a size beyond int64": (changed(LAYER, size=2**63), ["/size"]),
        "a size as text": (changed(LAYER, size="3"), ["/size"]),
        "a size with a point": (changed(LAYER, size=3.0), ["/size"]),
        "a size that is not a number": (changed(LAYER, size=float("nan")), ["/size"]),
        "a size that is true": (changed(LAYER, size=True), ["/size"]),
        "null urls": (changed(LAYER, urls=None), ["/urls"]),
        "a relative url, a bad escape, a space": (
            changed(LAYER, urls=["x", "a:%2", "a:%zz", "a: b", "http://ä/", "a:b\n"]),
            [f"/urls/{number}" for number in range(6)],
        ),
        "null annotations": (changed(LAYER, annotations=None), ["/annotations"]),
        "an annotation that is no text": (
            changed(LAYER, annotations={"a/b~c": 1, "d": None}),
            ["/annotations/a~1b~0c", "/annotations/d"],
        ),
        **{f"data {text!r}": (changed(LAYER, data=text), ["/data"]) for text in ("e30", "e30=\n", "e3=0", "e-_=", "====", "e")},
        "an artifact type that is none": (changed(LAYER, artifactType=""), ["/artifactType"]),
        "half a platform": (changed(LAYER, platform={"os": "linux"}), ["/platform"]),
        "a platform that is text": (changed(LAYER, platform="linux/amd64"), ["/platform"]),
        "os features that are no list": (
            changed(LAYER, platform={**PLATFORM, "os.features": "x"}),
            ["/platform/os.features"],
        ),
    },
    "manifest": {
        "an index": (INDEX, ["", "", ""]),
        "schema version 1": (changed(MANIFEST, schemaVersion=1), ["/schemaVersion"]),
        "schema version 2.0": (changed(MANIFEST, schemaVersion=2.0), ["/schemaVersion", "/schemaVersion"]),
        "no schema version": (changed(MANIFEST, schemaVersion=GONE), [""]),
        "another media type": (changed(MANIFEST, mediaType=DOCKER_MANIFEST["mediaType"]), ["/mediaType"]),
        "a null media type": (changed(MANIFEST, mediaType=None), ["/mediaType"]),
        "no config": (changed(MANIFEST, config=GONE), [""]),
        "a null config": (changed(MANIFEST, config=None), ["/config"]),
        "no layers": (changed(MANIFEST, layers=GONE), [""]),
        "null layers": (changed(MANIFEST, layers=None), ["/layers"]),
        "a layer without digest": (changed(MANIFEST, layers__0__digest=GONE), ["/layers/0"]),
        "a bad subject": (changed(MANIFEST, subject={}), ["/subject", "/subject", "/subject"]),
        "the empty config without artifact type": (changed(MANIFEST, config=EMPTY), [""]),
        "an index as well": (changed(MANIFEST, manifests=[]), [""]),
    },
    "index": {
        "a manifest": (MANIFEST, ["", "", ""]),
        "null manifests": (changed(INDEX, manifests=None), ["/manifests"]),
        "no manifests": (changed(INDEX, manifests=GONE), [""]),
        "schema version 1": (changed(INDEX, schemaVersion=1), ["/schemaVersion"]),
        "another media type": (changed(INDEX, mediaType=DOCKER_LIST["mediaType"]), ["/mediaType"]),
        "a manifest as well": (changed(INDEX, layers=[], config=CONFIG), ["", ""]),
        "an entry of null": (changed(INDEX, manifests=[None]), ["/manifests/0"]),
    },
    "config": {
        "no rootfs": (changed(IMAGE, rootfs=GONE), [""]),
        "a null rootfs": (changed(IMAGE, rootfs=None), ["/rootfs"]),
        "another rootfs type": (changed(IMAGE, rootfs__type="overlay"), ["/rootfs/type"]),
        "no diff_ids": (changed(IMAGE, rootfs__diff_ids=GONE), ["/rootfs"]),
        "null diff_ids": (changed(IMAGE, rootfs__diff_ids=None), ["/rootfs/diff_ids"]),
        "a bad diff_id": (changed(IMAGE, rootfs__diff_ids=[A, "sha256:x"]), ["/rootfs/diff_ids/1"]),
        "no os, a null architecture": (changed(IMAGE, os=GONE, architecture=None), ["", "/architecture"]),
        "environment that is no text": (
            image(Env=["A", "=B", "", "A=1", 5]),
            ["/config/Env/4"],
        ),
        "a command that is text": (image(Cmd="sh", Entrypoint=[1]), ["/config/Entrypoint/0", "/config/Cmd"]),
        "ports as a list": (image(ExposedPorts=["80/tcp"]), ["/config/ExposedPorts"]),
        "a volume of null": (image(Volumes={"/a": None}), ["/config/Volumes/~1a"]),
        "a label that is no text": (image(Labels={"a": 1}), ["/config/Labels/a"]),
        "history that is no list": (changed(IMAGE, history={}), ["/history"]),
        "history of text": (changed(IMAGE, history=["x"]), ["/history/0"]),
        "an empty_layer of text": (
            changed(IMAGE, history=[{"empty_layer": "true"}]),
            ["/history/0/empty_layer"],
        ),
        "a bad time in history": (changed(IMAGE, history=[{"created": "now"}]), ["/history/0/created"]),
        **{
            f"created {time!r}": (changed(IMAGE, created=time), ["/created"])
            for time in (
                "",
                "2015-10-31",
                "2015-10-31T22:22:56",
                "2015-10-31 22:22:56Z",
                "2015-10-31T22:22:56.Z",
                "2015-10-31T22:22:56Z\n",
                "2015-10-31T22:22:56+0100",
                "2015-10-31T24:00:00Z",
                "2015-10-31T22:60:00Z",
                "2015-10-31T22:22:61Z",
                "2015-10-31T22:22:60Z",
                "2015-10-31T22:22:56+24:00",
                "2015-13-01T00:00:00Z",
                "2015-00-01T00:00:00Z",
                "2015-04-31T00:00:00Z",
                "2015-02-29T00:00:00Z",
                "1900-02-29T00:00:00Z",
                "20151031T222256Z",
                "٢٠١٥-10-31T22:22:56Z",
                0,
            )
        },
    },
    "layout": {
        "nothing": ({}, [""]),
        "another version": ({"imageLayoutVersion": "2.0.0"}, ["/imageLayoutVersion"]),
        "a number": ({"imageLayoutVersion": 1}, ["/imageLayoutVersion"]),
        "a list": ([], [""]),
    },
    "docker-manifest": {
        "no media type": (changed(DOCKER_MANIFEST, mediaType=GONE), [""]),
        "the oci media type": (changed(DOCKER_MANIFEST, mediaType=ENTRY["mediaType"]), ["/mediaType"]),
        "schema version 1": (changed(DOCKER_MANIFEST, schemaVersion=1), ["/schemaVersion"]),
        "no config": (changed(DOCKER_MANIFEST, config=GONE), [""]),
        "no layers": (changed(DOCKER_MANIFEST, layers=GONE), [""]),
        "a list as well": (changed(DOCKER_MANIFEST, manifests=None), [""]),
    },
    "docker-manifest-list": {
        "no media type": (changed(DOCKER_LIST, mediaType=GONE), [""]),
        "no platform": (changed(DOCKER_LIST, manifests__0__platform=GONE), ["/manifests/0"]),
        "null manifests": (changed(DOCKER_LIST, manifests=None), ["/manifests"]),
        "a manifest as well": (changed(DOCKER_LIST, layers=[]), [""]),
    },
    "docker-archive-manifest": {
        "an object": (SAVED, [""]),
        "no config": ([changed(SAVED, Config=GONE)], ["/0"]),
        "an empty config": ([SAVED, changed(SAVED, Config="")], ["/1/Config"]),
        "no layers": ([changed(SAVED, Layers=GONE)], ["/0"]),
        "lower-case keys, as jib has them before the reader maps them": (
            [{key.lower(): value for key, value in SAVED.items()}],
            ["/0", "/0"],
        ),
        "tags that are text": ([changed(SAVED, RepoTags="app:1")], ["/0/RepoTags"]),
        "a layer that is no text": ([changed(SAVED, Layers=[None])], ["/0/Layers/0"]),
        "layer sources without digest": ([{**SAVED, "LayerSources": {"x": {}}}], ["/0/LayerSources"]),
    },
}

# -------------------------------------------------------------------------------------------------- reports
ENGINE = {"address": "unix:///run/docker.sock", "name": "Engine", "version": "20.10"}
CONTAINER = {
    "id": "abc",
    "names": ["web"],
    "image": "app:1",
    "imageId": A,
    "state": "running",
    "status": "Up",
    "created": "2020-01-01T00:00:00Z",
    "command": None,
    "writableBytes": None,
    "totalBytes": 5,
}
ENGINE_DF = {
    "report": "engine-df",
    "version": 1,
    "engine": ENGINE,
    "images": [
        {"reference": "a", "tags": ["a"], "imageId": None, "size": 3, "unique": 1, "shared": 2, "containers": ["abc"]},
    ],
    "containers": [CONTAINER],
    "bytes": {"layers": 1, "referenced": 2, "saved": 1, "writable": 0},
    "problems": [{"where": "a", "text": "b", "exitCode": 3}],
    "notices": [],
}


LAYER_OF = {"index": 0, "diffId": A, "createdBy": "RUN x"}
TRIPLE = {"os": "linux", "architecture": "amd64", "variant": None}
NOTICES = [{"code": "x", "text": "y"}]
INSTALLED: dict[str, Any] = {
    "distribution": {"id": "debian", "version": None},
    "packages": [{
        "type": "deb", "name": "a", "version": "1", "purl": "pkg:deb/a@1", "architecture": None, "source": None,
        "sourceVersion": None, "license": None, "database": "/var/lib/dpkg/status", "files": None, "size": None, "layer": None,
    }],
}  # fmt: skip
PROBLEMS = [{"path": "/a\ufffd", "pathBase64": "L2H/", "reason": "truncated"}]
INSPECT_IMAGE = {
    "tags": ["app:1"],
    "digest": None,
    "imageId": A,
    "mediaType": "a/b",
    "platform": TRIPLE,
    "created": "2020-01-01T00:00:00Z",
    "author": None,
    "annotations": {},
    "config": {"Env": ["A=b"], "anything": [None]},
    "configVerbatim": True,
    "volumes": ["/data"],
    "exposedPorts": ["80/tcp"],
    "layers": [
        {
            "index": 0,
            "digest": None,
            "diffId": A,
            "mediaType": "a/b",
            "compression": "gzip",
            "compressionVerified": True,
            "content": "tar",
            "present": True,
            "size": 1,
            "uncompressedSize": None,
            "createdBy": None,
            "created": None,
            "files": None,
        }
    ],
    "history": [{"created_by": "x"}],
    "totals": {"layers": 1, "size": 1, "uncompressedSize": None},
    "verified": False,
    "missing": [B],
    "waste": None,
    "distribution": None,
    "packages": None,
    "packageProblems": None,
}
COST = {"files": 1, "bytes": 2}
COPIES = {
    "files": 1,
    "bytes": 2,
    "contentUnchanged": COST,
    "byLayer": [{"index": 1, "createdBy": None, "files": 1, "bytes": 2, "contentUnchanged": COST}],
    "list": [{"path": "/a", "size": 2, "layer": 1, "from": 0, "changed": ["mode", "mtime"]}],
}
WASTE = {
    "bytes": 2,
    "overwritten": COST,
    "deleted": COST,
    "copiedUp": COST,
    "byLayer": [{"index": 1, "createdBy": None, "overwritten": 1, "deleted": 2, "copiedUp": 3}],
    "largest": [{"path": "/a\ufffd", "pathBase64": "L2H/", "size": 1, "layer": 0}],
    "deletedButShipped": [{"path": "/a", "size": 1, "layer": 0, "deletedBy": 1}],
    "paths": [{"path": "/a", "bytes": 1, "versions": 2, "kind": "copied-up"}],
    "copies": COPIES,
}
INSPECT = {
    "report": "inspect",
    "version": 1,
    "reference": "x.tar",
    "transport": "docker-archive",
    "index": {
        "mediaType": "a/b",
        "digest": A,
        "manifests": [
            {
                "digest": A,
                "mediaType": "a/b",
                "size": 1,
                "platform": None,
                "kind": "attestation",
                "annotations": {"a": "b"},
                "present": False,
            }
        ],
    },
    "images": [INSPECT_IMAGE, {**INSPECT_IMAGE, "waste": WASTE}, {**INSPECT_IMAGE, **INSTALLED, "packageProblems": PROBLEMS}],
}
SIDE: dict[str, Any] = {
    "reference": "a.tar",
    "tags": [],
    "digest": None,
    "imageId": A,
    "platform": TRIPLE,
    "layers": 1,
    "size": 1,
}
LAYER_SIDE = {
    "index": 0,
    "digest": A,
    "diffId": None,
    "size": 1,
    "mediaType": "a/b",
    "createdBy": None,
    "created": None,
}
FILE_SIDE = {
    "type": "file",
    "size": 1,
    "mode": "4755",
    "uid": 0,
    "gid": 0,
    "mtime": "2020-01-01T00:00:00.123456789Z",
    "digest": A,
    "linkTarget": None,
    "links": ["/b"],
    "device": None,
    "xattrs": {"security.capability": "AQ=="},
}
DIFF_BODY = {
    "identical": False,
    "verified": True,
    "before": SIDE,
    "after": SIDE,
    "layers": [
        {
            "status": "changed",
            "before": None,
            "after": LAYER_SIDE,
            "reason": None,
            "rebuiltBecauseOf": {"side": "after", "index": 0, "createdBy": None},
        }
    ],
    "shared": {"layers": 0, "bytes": 0},
    "compared": {"paths": [], "ignoredPaths": [], "config": True, "ignoredVolatile": False},
    "config": [
        {
            "document": "config",
            "pointer": "/config/Env/a~1b",
            "key": "A",
            "kind": "modified",
            "before": 1,
            "after": None,
        }
    ],
    "files": [
        {
            "path": "/a",
            "kind": "added",
            "fields": ["content", "links"],
            "before": None,
            "after": FILE_SIDE,
            "layer": LAYER_OF,
            "renamedFrom": "/b",
            "group": 0,
            "volatile": "log",
            "package": 0,
        }
    ],
    "volatile": [
        {
            "class": "log",
            "files": 1,
            "bytes": 3,
            "text": "logs",
            "advice": "find /var/log -type f -delete",
            "ignorePaths": ["/var/log/**"],
        }
    ],
    "groups": [
        {
            "kind": "metadata",
            "path": "/lib",
            "span": "tree",
            "renamedFrom": None,
            "layer": LAYER_OF,
            "counts": {"added": 0, "removed": 0, "modified": 0, "type": 0, "metadata": 2, "renamed": 0, "edited": 0},
            "files": 2,
            "directories": 0,
            "bytes": 7,
            "sizeDelta": 0,
            "fields": [{"field": "mode", "before": "0644", "after": "0755"}, {"field": "uid", "before": 0, "after": 7}],
            "largest": {"path": "/lib/a"},
        }
    ],
    "packages": [
        {
            "type": "deb",
            "name": "openssl",
            "purl": "pkg:deb/debian/openssl@3.0.13-1?arch=amd64",
            "kind": "upgraded",
            "before": "3.0.11-1",
            "after": "3.0.13-1",
            "source": None,
            "files": 1,
            "sizeDelta": 12,
            "layer": LAYER_OF,
        }
    ],
    "notable": [{"rule": "setuid", "path": "/a", "pointer": None, "layer": LAYER_OF}],
    "failures": [{"rule": "size:+5%", "limit": 5, "actual": "7"}],
    "policy": ".ocitool.toml",
    "budget": [
        {
            "key": "size",
            "path": None,
            "unit": "bytes",
            "limit": 5,
            "limitIs": "most",
            "percent": None,
            "actual": 3,
            "status": "kept",
        }
    ],
    "summary": {
        "added": 1,
        "removed": 0,
        "modified": 0,
        "type": 0,
        "metadata": 0,
        "mtimeOnly": 0,
        "sizeDelta": -1,
        "transferBytes": 1,
        "transferEstimated": False,
        "renamed": 0,
        "builtAlike": {"layers": 1, "bytes": 10},
    },
    "patch": [{"path": "/a", "text": "+x"}],
    "notices": NOTICES,
}
DIFF = {"report": "diff", "version": 2, **DIFF_BODY}
DIFF_ALL = {
    "report": "diff",
    "version": 2,
    "identical": False,
    "verified": True,
    "platforms": [
        {"platform": TRIPLE, "status": "both", "diff": DIFF_BODY},
        {"platform": TRIPLE, "status": "added", "diff": None},
    ],
    "config": [],
    "notices": [],
}
FINDINGS = {
    "reference": "x.tar",
    "valid": True,
    "findings": [{"rule": "r", "severity": "warning", "subject": "s", "message": "m"}],
    "checked": {"documents": 1, "blobs": 1, "layers": 1, "entries": 1, "bytes": 1},
    "truncated": False,
}
BUDGET = {
    "report": "budget",
    "version": 1,
    "reference": "x.tar",
    "against": None,
    "policy": ".ocitool.toml",
    "kept": True,
    "digest": A,
    "imageId": B,
    "limits": [
        {"key": "growth", "path": None, "unit": "bytes", "limit": 5, "limitIs": "most", "percent": 2.5, "actual": None,
         "status": "not-checked"}
    ],
    "updated": [{"name": "size", "before": None, "after": "1MB"}],
}  # fmt: skip
VALIDATE = {"report": "validate", "version": 1, **FINDINGS}
VALIDATE_ALL = {"report": "validate", "version": 1, "valid": True, "results": [FINDINGS]}
PACKAGES = {
    "report": "packages", "version": 1, "reference": "x.tar", "imageId": A, "verified": False, **INSTALLED,
    "problems": PROBLEMS, "notices": NOTICES,
}  # fmt: skip
LS = {
    "report": "ls",
    "version": 1,
    "reference": "x.tar",
    "imageId": A,
    "layer": None,
    "verified": True,
    "entries": [
        {
            "path": "/dev/a",
            "type": "char",
            "size": 0,
            "mode": "600",
            "uid": 0,
            "gid": 0,
            "mtime": "1969-12-31T23:59:59.5Z",
            "linkTarget": None,
            "links": [],
            "device": {"major": 1, "minor": 3},
            "xattrs": {},
            "layer": LAYER_OF,
        }
    ],
    "notices": NOTICES,
}
WRITTEN = {
    "report": "copy", "version": 1, "destination": "layout/", "dryRun": False, "verified": True,
    "roots": [
        {"digest": A, "mediaType": "x/index", "names": ["app:1"], "references": [f"out:@{A}"], "subject": None,
         "platforms": [{"os": "linux", "architecture": "arm64", "variant": "v8"}]},
        {"digest": B, "mediaType": "", "names": [], "references": [], "platforms": None, "subject": A},
    ],
    "images": [{
        "digest": "sha256:" + "a" * 64, "imageId": "sha256:" + "b" * 64, "tags": ["app:1"],
        "platform": {"os": "linux", "architecture": "arm64", "variant": None},
        "layers": [{"index": 0, "digest": "sha256:" + "c" * 64, "diffId": None, "size": 3, "origin": "kept"}],
    }],
    "bytes": {"kept": 3, "written": 0, "transferred": 0, "skipped": 0, "omitted": 0, "lent": 0},
    "engines": ["isal 1.8.0"], "details": None, "notices": NOTICES,
}  # fmt: skip
EDITED = {"removed": ["/a"], "sameContent": [{"layer": 1, "path": "/b"}]}
_IMAGE = {"reference": "app.tar", "platform": "linux/arm64"}
_BASE = {"image": "base.tar", "digest": None, "layers": 1}
DETAILS = {
    "squash": {"squashed": [{
        **_IMAGE, "from": 1, "layers": 2, "into": 1, "entries": 3, "saved": {"stored": -1, "hidden": 2, "duplicate": 0},
        "lost": [{"image": "debian:12", "layers": None, "size": None}],
    }]},
    "rebuild": {"rebuilt": [{
        **_IMAGE, "against": ["old.tar"], "plan": "delta",
        "plans": [{"plan": "delta", "transfer": 1, "estimated": False}, {"plan": "as-is", "transfer": None, "estimated": True}],
        "layers": [{"index": 0, "match": "same", "old": {"image": "old.tar", "layer": 0}},
                   {"index": 1, "match": "changed", "old": None}],
        "ignored": [{"path": "/a"}], "equalPyc": [{"path": "/\ufffd", "pathBase64": "L/8="}], "stalePyc": [],
        "suggestion": {"ignorePaths": ["/var/log/**"], "layers": [1], "saves": 7},
        "delta": {"against": "old.tar", "deltas": 1, "hidden": {
            "size": 1, "files": [{"path": "/a", "size": 1, "layer": 0, "kind": "removed"}],
        }},
    }]},
    "rebase": {"rebased": [{
        **_IMAGE, "oldBase": _BASE, "newBase": _BASE, "settings": ["Env PATH"],
        "conflicts": [{"path": "/a", "base": "changed", "app": "removed", "layer": 1}],
    }]},
}  # fmt: skip
UNPACK = {
    "report": "unpack", "version": 1, "reference": "app.tar", "as": "editable", "destination": "work", "digest": None,
    "imageId": A, "platform": {"os": "linux", "architecture": "arm64", "variant": None}, "rootless": True, "mode": "0700",
    "verified": True,
    "entries": 3, "bytes": {"read": 7, "written": 9}, "notices": NOTICES,
}  # fmt: skip
UNPACK_LAYERS = {
    "report": "unpack", "version": 1, "reference": "app.tar", "as": "layers", "destination": "store", "rootless": False,
    "mode": "0710",
    "verified": True, "bytes": {"read": 7, "written": 9}, "notices": NOTICES,
    "images": [{
        "tags": ["app:1"], "digest": None, "imageId": A, "platform": {"os": "linux", "architecture": "arm64", "variant": None},
        "options": "lowerdir=l/1", "mount": "cd store && mount -t overlay ...",
        "layers": [{
            "index": 0, "diffId": A, "chainId": B, "directory": "sha256/" + "a" * 64, "link": "l/1", "origin": "kept",
        }],
    }],
}  # fmt: skip
LAYOUT = {"report": "layout", "version": 1, "dryRun": False, "notices": NOTICES}
LAYOUTS = {
    "rm": {
        **LAYOUT, "action": "rm", "layout": "store", "removed": [{"digest": A, "tags": ["app:1"], "referrer": False}],
        "referrers": [{"kind": "signature", "digest": B, "subject": A, "tags": []}], "bytes": {"freeable": None},
    },
    "gc": {
        **LAYOUT, "action": "gc", "layout": "store", "freed": [{"digest": A, "size": 3}], "blobs": {"freed": 1, "kept": 2},
        "bytes": {"freed": 3, "linked": 0, "kept": 4}, "temporaries": 0,
    },
    "link": {
        **LAYOUT, "action": "link", "layouts": ["a", "b"], "blobs": {"linked": 1, "cloned": 0, "already": 2},
        "bytes": {"saved": 3}, "refused": [{"path": "a/x", "size": 1, "reason": "x"}], "damaged": ["b/x"], "temporaries": 1,
    },
    "normalize": {
        **LAYOUT, "action": "normalize", "layout": "store", "verified": True, "changes": ["x"],
        "findings": [{"rule": "size", "severity": "error", "subject": "blob x", "message": "y"}],
    },
}  # fmt: skip
VOLUME = {"report": "volume", "version": 1, "engine": "unix:///var/run/docker.sock", "notices": NOTICES}
VOLUMES = {
    "ls": {
        **VOLUME, "action": "ls", "volumes": [
            {"name": "data", "driver": "local", "labels": {"a": "b"}, "created": None, "size": 3, "usedBy": ["web"]},
            {"name": "other", "driver": "local", "labels": {}, "created": "2026-01-01T00:00:00Z", "size": None, "usedBy": []},
        ],
    },
    "restore": {
        **VOLUME, "action": "restore", "reference": "data.tar", "digest": A, "entries": 2, "files": 1, "size": 3,
        "volume": {"name": "data", "driver": "local", "created": True}, "helper": None,
    },
}  # fmt: skip
DEDUPE = {
    "report": "dedupe", "version": 1, "references": ["store/"],
    "images": [{
        "reference": "store:a", "also": [], "kind": "image", "transport": "oci", "digest": A, "imageId": B,
        "platforms": ["linux/amd64"], "layers": 2, "base": 0, "own": 1, "shared": 2, "marginal": 1,
        "tags": ["a"], "onDisk": 3, "frees": 1,
    }],
    "layers": {"references": 4, "unique": 3}, "bytes": {
        "referenced": 10, "unique": 8, "saved": 2, "onDisk": 8, "atRegistries": None,
    },
    "sharedLayers": [{"digest": A, "diffId": B, "size": 2, "saved": 2, "createdBy": "RUN x", "images": ["store:a", "store:b"]}],
    "bases": [{"name": None, "chainId": B, "layers": 1, "size": 2, "saved": 2, "on": None, "images": ["store:a", "store:b"]}],
    "equalUncompressed": [{"diffId": B, "digests": [A, B], "sizes": [1, 2], "images": ["store:a"]}],
    "files": {"references": 3, "unique": 2, "bytes": 9, "uniqueBytes": 6, "top": [{
        "digest": A, "size": 3, "count": 2, "saves": 3,
        "places": [{"layer": A, "path": "/\ufffd", "pathBase64": "L/8="}, {"layer": A, "path": "/b"}],
    }]},
    "packages": {"count": 1, "saves": 3, "layersLeftOut": 0, "top": [{
        "type": "npm", "name": "@a/b", "version": "1", "purl": "pkg:npm/%40a/b@1", "copies": 2, "layers": 2, "images": 1,
        "bytes": 6, "saves": 3, "places": [{"layer": A, "path": "/b/package.json"}],
    }]},
    "advice": [{
        "kind": "zstd", "saves": 1, "onDisk": 1, "estimated": True, "images": ["store:a"], "text": "x",
        "command": "ocitool copy", "insteadOf": [],
    }],
    "problems": [{"where": "x.tar", "text": "not an image (x.tar)", "exitCode": 4}], "verified": False, "notices": NOTICES,
}  # fmt: skip
SAMPLES = [
    pytest.param("report-dedupe", DEDUPE, id="dedupe"),
    pytest.param(
        "report-dedupe", changed(DEDUPE, files=None, packages=None, images__0__digest=None, advice=[]), id="dedupe-documents"
    ),
    *(pytest.param("report-layout", sample, id=f"layout-{action}") for action, sample in LAYOUTS.items()),
    pytest.param(
        "report-engine-containers",
        {"report": "engine-containers", "version": 1, "engine": ENGINE, "containers": [CONTAINER], "notices": NOTICES},
    ),
    pytest.param("report-engine-df", ENGINE_DF),
    *(pytest.param("report-volume", sample, id=f"volume-{action}") for action, sample in VOLUMES.items()),
    pytest.param("report-tags", {"report": "tags", "version": 1, "repository": "h/app", "tags": ["1"], "notices": NOTICES}),
    pytest.param("report-catalog", {"report": "catalog", "version": 1, "host": "h", "repositories": ["a"], "notices": NOTICES}),
    pytest.param("report-unpack", UNPACK_LAYERS, id="unpack-layers"),
    pytest.param("report-unpack", UNPACK, id="unpack"),
    pytest.param("report-unpack", changed(UNPACK, digest=B, bytes__read=None), id="unpack-tar"),
    pytest.param("report-written", WRITTEN, id="written"),
    pytest.param("report-written", {**WRITTEN, "report": "edit", "images": [], "details": EDITED}, id="written-bare"),
    *(
        pytest.param("report-written", {**WRITTEN, "report": command, "details": details}, id=f"written-{command}")
        for command, details in DETAILS.items()
    ),
    pytest.param("report-inspect", INSPECT, id="inspect"),
    pytest.param("report-inspect", {**INSPECT, "index": None, "images": [], "notices": NOTICES}, id="inspect-bare"),
    pytest.param("report-diff", DIFF, id="diff"),
    pytest.param("report-diff", {**DIFF, "patch": None, "files": [], "packages": None, "layers": []}, id="diff-bare"),
    pytest.param("report-diff", DIFF_ALL, id="diff-all-platforms"),
    pytest.param("report-budget", BUDGET, id="budget"),
    pytest.param("report-validate", VALIDATE, id="validate"),
    pytest.param("report-validate", {**VALIDATE, "reference": None}, id="validate-bare-document"),
    pytest.param("report-validate", VALIDATE_ALL, id="validate-several"),
    pytest.param("report-packages", PACKAGES, id="packages"),
    pytest.param("report-ls", LS, id="ls"),
    pytest.param("report-ls", {**LS, "layer": 3, "entries": []}, id="ls-layer"),
]


def rows(table: dict[str, dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(kind, row, id=f"{kind}: {re.sub(r'[^ -~]', '?', name)}")
        for kind, named in table.items()
        for name, row in named.items()
    ]


def walk(value: object) -> Iterator[dict[str, Any]]:
    """Every subschema of a schema, and its tables of properties as well."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(child)


# ----------------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize(("kind", "document"), rows(ACCEPTED))
def test_what_the_specification_allows_is_accepted(kind: str, document: Any) -> None:
    assert problems(kind, document) == ()


@pytest.mark.parametrize(("kind", "row"), rows(REFUSED))
def test_what_the_specification_forbids_is_refused_where_it_stands(kind: str, row: tuple[Any, list[str]]) -> None:
    document, pointers = row
    assert [problem.pointer for problem in problems(kind, document)] == pointers


def test_every_kind_has_documents_of_both_sorts() -> None:
    assert set(KINDS) == set(ACCEPTED) == set(REFUSED)


def test_every_schema_file_is_a_kind_or_a_report() -> None:
    assert {*KINDS, *REPORTS} <= set(NAMES)
    assert all(name in KINDS or name in OWN_FILES or name.startswith("report-") for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_valid_by_its_metaschema(name: str) -> None:
    from jsonschema import Draft202012Validator

    schema = load(name)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_named_by_its_file(name: str) -> None:
    assert load(name)["$id"] == URN + name


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_resolves(name: str) -> None:
    schema = load(name)
    for reference in [part["$ref"] for part in walk(schema) if isinstance(part.get("$ref"), str)]:
        urn, _, fragment = reference.partition("#")
        at: Any = load(urn.removeprefix(URN)) if urn else schema
        for part in fragment.split("/")[1:]:
            at = at[part]
        assert isinstance(at, dict)


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_schema_stands_alone(name: str) -> None:
    """Whoever checks our reports needs one file of ours and no registry of schemas."""
    assert all(part["$ref"].startswith("#/$defs/") for part in walk(load(name)) if "$ref" in part)


@pytest.mark.parametrize("name", REPORTS)
def test_every_object_of_a_report_is_closed(name: str) -> None:
    def closed(schema: Any) -> bool:
        return "properties" not in schema or schema.get("additionalProperties") is False

    assert all(closed(part) for part in walk(load(name)) if "type" in part and "object" in part["type"])


@pytest.mark.parametrize("name", sorted({*NAMES} - {*OWN_FILES}))
def test_a_schema_uses_only_keywords_that_are_checked_lazily_and_quietly(name: str) -> None:
    """oneOf and anyOf gather all errors of all branches; others print the document into the message."""
    ours = {
        "type",
        "const",
        "enum",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "minLength",
        "not",
        "required",
    }
    lazy = {
        "properties",
        "additionalProperties",
        "propertyNames",
        "items",
        "allOf",
        "if",
        "then",
        "else",
        "$ref",
    }
    words = {"$schema", "$id", "$defs", "$comment", "title", "description"}

    def check(schema: Any) -> None:
        if not isinstance(schema, dict):
            return
        assert set(schema) <= ours | lazy | words
        for table in ("properties", "$defs"):
            for part in schema.get(table, {}).values():
                check(part)
        for word in ("items", "additionalProperties", "propertyNames", "if", "then", "else", "not"):
            check(schema.get(word))
        for part in schema.get("allOf", []):
            check(part)

    check(load(name))


@pytest.mark.parametrize(("name", "sample"), SAMPLES)
def test_a_report_schema_accepts_a_sample(name: str, sample: Any) -> None:
    assert problems(name, sample) == ()


@pytest.mark.parametrize(("name", "sample"), SAMPLES)
def test_a_report_schema_accepts_a_sample_with_any_validator(name: str, sample: Any) -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator(load(name)).validate(sample)


@pytest.mark.parametrize(("name", "sample"), SAMPLES)
def test_a_report_schema_refuses_an_unknown_top_level_field(name: str, sample: Any) -> None:
    assert [problem.pointer for problem in problems(name, {**sample, "surprise": 1})] == ["/surprise"]


@pytest.mark.parametrize(("name", "sample"), SAMPLES)
def test_a_report_schema_refuses_a_missing_top_level_field(name: str, sample: Any) -> None:
    optional = {"report-inspect": {"notices"}, "report-unpack": {"images"}}.get(name, set())
    for field in sample.keys() - optional - {"platforms", "results"}:
        assert [problem.pointer for problem in problems(name, changed(sample, **{field: GONE}))] == [""], field


@pytest.mark.parametrize(
    ("name", "sample", "pointer"),
    [
        ("report-inspect", changed(INSPECT, report="diff"), "/report"),
        ("report-inspect", changed(INSPECT, version=True), "/version"),
        (
            "report-inspect",
            changed(INSPECT, images__0__layers__0__compression="xz"),
            "/images/0/layers/0/compression",
        ),
        (
            "report-inspect",
            changed(INSPECT, images__1__waste__largest__0__path="a"),
            "/images/1/waste/largest/0/path",
        ),
        ("report-diff", changed(DIFF, files__0__after__type="hardlink"), "/files/0/after/type"),
        ("report-diff", changed(DIFF, files__0__after__mode="0o755"), "/files/0/after/mode"),
        ("report-diff", changed(DIFF, files__0__after__mtime="yesterday"), "/files/0/after/mtime"),
        ("report-diff", changed(DIFF, files__0__package=-1), "/files/0/package"),
        ("report-diff", changed(DIFF, packages__0__kind="newer"), "/packages/0/kind"),
        ("report-diff", changed(DIFF, config__0__pointer="a/b"), "/config/0/pointer"),
        ("report-diff", changed(DIFF, config__0__pointer="/a~2"), "/config/0/pointer"),
        ("report-diff", changed(DIFF_ALL, platforms__0__diff__report="diff"), "/platforms/0/diff/report"),
        ("report-budget", changed(BUDGET, limits__0__status="ok"), "/limits/0/status"),
        ("report-validate", changed(VALIDATE, findings__0__severity="fatal"), "/findings/0/severity"),
        ("report-validate", changed(VALIDATE_ALL, results__0__x=1), "/results/0/x"),
        ("report-ls", changed(LS, entries__0__xattrs={"user.a": "?"}), "/entries/0/xattrs/user.a"),
        ("report-layout", changed(LAYOUTS["gc"], bytes__freed=-1), "/bytes/freed"),
        ("report-layout", changed(LAYOUTS["rm"], removed__0__digest="x"), "/removed/0/digest"),
        ("report-layout", changed(LAYOUTS["link"], action="purge"), "/action"),
        ("report-volume", changed(VOLUMES["ls"], volumes__0__size=-1), "/volumes/0/size"),
        ("report-volume", changed(VOLUMES["restore"], digest="x"), "/digest"),
        ("report-volume", changed(VOLUMES["ls"], action="rm"), "/action"),
        ("report-unpack", changed(UNPACK, imageId="sha256:abc"), "/imageId"),
        ("report-unpack", changed(UNPACK, bytes__written=-1), "/bytes/written"),
        ("report-unpack", changed(UNPACK_LAYERS, images__0__layers__0__origin="new?"), "/images/0/layers/0/origin"),
    ],
)
def test_a_report_schema_refuses_a_wrong_value_where_it_stands(name: str, sample: Any, pointer: str) -> None:
    found = [problem.pointer for problem in problems(name, sample)]
    assert set(found) == {pointer}


def test_problems_stop_at_the_limit() -> None:
    document = changed(MANIFEST, layers=[{"size": -1}] * 100_000)
    assert len(problems("manifest", document)) == 50
    assert len(problems("manifest", document, limit=3)) == 3
    assert problems("manifest", document, limit=0) == ()


def test_a_message_is_short_and_holds_no_value_of_the_document() -> None:
    secret = "hunter2" * 1000
    documents = {
        "config": image(Env=[secret], Cmd=secret, Labels={"a": [secret]}, User=[secret]),
        "manifest": {
            "schemaVersion": secret,
            "mediaType": [secret],
            "config": {secret: secret},
            "layers": secret,
        },
        "report-ls": {
            "report": secret,
            secret: secret,
            "entries": [{secret: 1, "type": secret, "path": secret}],
        },
    }
    for kind, document in documents.items():
        found = problems(kind, document)
        assert found
        assert all(len(problem.message) <= 200 and "hunter2" not in problem.message for problem in found)


def test_a_document_deeper_than_the_stack_is_checked() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    found = problems("manifest", {"schemaVersion": deep, "mediaType": deep, "config": deep, "layers": [], "x": deep})
    assert {problem.pointer for problem in found} == {"/schemaVersion", "/mediaType", "/config"}


@pytest.mark.parametrize(
    "field",
    [
        {"data": "A" * 4_000_000 + "!"},
        {"digest": "a." * 2_000_000 + "!"},
        {"digest": "a" * 4_000_000},
        {"mediaType": "a" * 4_000_000},
        {"urls": ["a:" + "%20" * 1_300_000 + "%"]},
    ],
    ids=lambda field: next(iter(field)),
)
def test_a_hostile_string_costs_no_more_than_its_length(field: dict[str, Any]) -> None:
    """Measured below 0.2 s each; an ambiguous pattern would not come back at all."""
    import time

    start = time.process_time()
    assert len(problems("descriptor", {**LAYER, **field})) == 1
    assert time.process_time() - start < 5


def test_a_problem_says_the_place_and_the_rule() -> None:
    assert problems("descriptor", changed(LAYER, size=-1)) == (SchemaViolation("/size", "must be at least 0"),)
    assert problems("layout", {}) == (SchemaViolation("", 'must have "imageLayoutVersion"'),)


@pytest.mark.parametrize("name", ["", "nothing", "../schemas/index", "index.json", "Index", "index\n"])
def test_an_unknown_name_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="no schema named"):
        load(name)
    with pytest.raises(ValueError, match="no schema named"):
        problems(name, {})


def test_a_loaded_schema_is_the_callers_own() -> None:
    load("layout").clear()
    assert load("layout")["$id"] == URN + "layout"


def test_jsonschema_is_imported_only_when_a_document_is_checked() -> None:
    program = "import sys, ocitool.spec.schema as s; s.load('index'); print('jsonschema' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=SCHEMAS.parent)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_file_is_plain_json_with_a_last_newline(name: str) -> None:
    text = (SCHEMAS / f"{name}.json").read_text("utf-8")
    assert text.endswith("}\n")
    assert json.loads(text) == load(name)
