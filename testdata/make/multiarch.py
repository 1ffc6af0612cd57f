"""Make the layout of buildah a multi-platform one. multiarch.py LAYOUT/"""

import hashlib
import json
import pathlib
import sys

layout = pathlib.Path(sys.argv[1])
OCI = "application/vnd.oci.image."
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
         "digest": "sha256:" + hashlib.sha256(b"{}").hexdigest()}


def put(document, media_type, **more):
    """Store a document (or bytes); its descriptor."""
    data = document if isinstance(document, bytes) else json.dumps(document, indent=2).encode()
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs/sha256" / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}


def index(*manifests, **more):
    return put({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": manifests, **more}, OCI + "index.v1+json")


def attestation(image):
    """As buildx: an image of platform unknown/unknown whose layers are in-toto statements."""
    statement = put({"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2",
                     "subject": [{"name": "_", "digest": {"sha256": image["digest"].removeprefix("sha256:")}}],
                     "predicate": {"builder": {"id": ""}, "buildType": "https://mobyproject.org/buildkit@v1"}},
                    "application/vnd.in-toto+json",
                    annotations={"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"})
    config = put({"architecture": "unknown", "os": "unknown", "config": {},
                  "rootfs": {"type": "layers", "diff_ids": [statement["digest"]]}}, OCI + "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config, "layers": [statement]}
    return put(manifest, OCI + "manifest.v1+json", platform={"architecture": "unknown", "os": "unknown"}, annotations={
        "vnd.docker.reference.digest": image["digest"], "vnd.docker.reference.type": "attestation-manifest"})


def tag(descriptor, name):
    return descriptor | {"annotations": {**descriptor.get("annotations", {}), "org.opencontainers.image.ref.name": name}}


tagged = {m["annotations"]["org.opencontainers.image.ref.name"]: m
          for m in json.loads((layout / "index.json").read_text())["manifests"]}
plain = {name: {k: v for k, v in d.items() if k not in ("annotations", "platform")} for name, d in tagged.items()}
amd64 = plain["amd64"] | {"platform": {"architecture": "amd64", "os": "linux"}}
arm64 = plain["arm64"] | {"platform": {"architecture": "arm64", "os": "linux", "variant": "v8"}}
absent = {"mediaType": OCI + "manifest.v1+json", "digest": "sha256:" + hashlib.sha256(b"not copied").hexdigest(),
          "size": 1234, "platform": {"architecture": "s390x", "os": "linux"}}

latest = index(amd64, arm64, attestation(amd64), attestation(arm64))
partial = index(amd64, absent)
nested = index(latest, index(absent))
(layout / "blobs/sha256" / EMPTY["digest"].removeprefix("sha256:")).write_bytes(b"{}")
notes = put(b"checked by nobody\n", "text/plain", annotations={"org.opencontainers.image.title": "notes.txt"})
artifact = put({"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "artifactType": "application/vnd.example.notes",
                "config": EMPTY, "layers": [notes, EMPTY | {"data": "e30="}],
                "subject": {k: amd64[k] for k in ("mediaType", "digest", "size")},
                "annotations": {"org.opencontainers.image.created": "2023-11-14T22:13:20Z"},
                "org.example.unknown": {"kept": [1, 2.50, "é"]}},
               OCI + "manifest.v1+json", artifactType="application/vnd.example.notes")
only = index(arm64, attestation(arm64))

(layout / "index.json").write_text(json.dumps({
    "schemaVersion": 2, "mediaType": OCI + "index.v1+json",
    "manifests": [tag(latest, "latest"), tag(nested, "nested"), tag(partial, "partial"), tag(only, "only-arm64"),
                  tag(artifact, "notes"), tag(arm64, "arm64")]}, indent=2))
