"""Forms of one image whose tools are not at hand, made from `docker save` and an OCI layout of it.

encodings.py SAVE.tar LAYOUT/ DESTINATION/
"""

import hashlib
import io
import json
import pathlib
import sys
import tarfile

save, layout, to = map(pathlib.Path, sys.argv[1:])
MTIME = 1700000000
TAG = "shop:1.1"


def write(name, members, format=tarfile.USTAR_FORMAT):
    """members: (name, bytes), (name, None) for a directory, (name, (tarfile type, target)) for a link."""
    with tarfile.open(to / name, "w", format=format) as tar:
        for path, data in members:
            info = tarfile.TarInfo(path)
            info.mtime, info.mode = MTIME, 0o644
            if data is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(data, tuple):
                info.type, info.linkname = data
                data = None
            else:
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if data else None)


def js(value):
    return json.dumps(value, separators=(",", ":")).encode()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def descriptor(data, media_type, **more):
    return {"mediaType": media_type, "digest": "sha256:" + sha(data), "size": len(data), **more}


# What docker save wrote: members, the configuration and the uncompressed layers.
with tarfile.open(save) as tar:
    saved = [(m.name, tar.extractfile(m).read() if m.isreg() else None) for m in tar]
content = dict(saved)
entry = json.loads(content["manifest.json"])[0]
config = content[entry["Config"]]
layers = [content[name] for name in entry["Layers"]]
config_hex = sha(config)

# What skopeo wrote: the same layers, compressed.
blob = lambda digest: (layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
manifest = json.loads(blob(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]))
packed = [blob(layer["digest"]) for layer in manifest["layers"]]
assert blob(manifest["config"]["digest"]) != b"" and len(packed) == len(layers)

# v1, before Docker 1.10: no manifest.json and no configuration of the whole image.
write("docker-1.tar", [(n, d) for n, d in saved if n not in ("manifest.json", entry["Config"])])

# v1.2 with every layer.tar a link to another member.
for kind, type_ in (("symlinks", tarfile.SYMTYPE), ("hardlinks", tarfile.LNKTYPE)):
    members, names = [(n, d) for n, d in saved if n != "manifest.json"], []
    for number, target in enumerate(entry["Layers"]):
        names.append(f"layer-{number}/layer.tar")
        link = f"../{target}" if kind == "symlinks" else target
        members += [(f"layer-{number}", None), (names[-1], (type_, link))]
    write(f"docker-1.2-{kind}.tar", [*members, ("manifest.json", js([entry | {"Layers": names}]))])


def hybrid(name, stored, layer_type, graph_driver):
    """Docker 25 and later: a layout and manifest.json in one."""
    described = [descriptor(data, layer_type) for data in stored]
    document = js({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(config, "application/vnd.oci.image.config.v1+json"), "layers": described,
    })
    top = descriptor(document, "application/vnd.oci.image.manifest.v1+json", annotations={
        "io.containerd.image.name": f"docker.io/library/{TAG}", "org.opencontainers.image.ref.name": "1.1"})
    path = lambda data: "blobs/sha256/" + sha(data)
    old = {"Config": path(config), "RepoTags": [TAG], "Layers": [path(data) for data in stored]}
    members = [("blobs", None), ("blobs/sha256", None)]
    members += sorted({path(data): data for data in [config, document, *stored]}.items())
    members.append(("index.json", js({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [top]})))
    if graph_driver:
        old["LayerSources"] = {d["digest"]: d for d in described}
    members += [("manifest.json", js([old])), ("oci-layout", js({"imageLayoutVersion": "1.0.0"}))]
    if graph_driver:
        members.append(("repositories", js({"shop": {"1.1": sha(layers[-1])}})))
    write(name, members)


hybrid("docker-25.tar", layers, "application/vnd.oci.image.layer.v1.tar", True)
hybrid("docker-29.tar", packed, "application/vnd.oci.image.layer.v1.tar+gzip", False)

# jib: lower-case keys, layers named by their compressed digest.
members = [(f"{sha(data)}.tar.gz", data) for data in packed]
write("jib.tar", [*members, ("config.json", config), ("manifest.json", js([
    {"config": "config.json", "repoTags": [TAG], "layers": [n for n, _ in members]}]))])

# kaniko (go-containerregistry), packed again by `tar .`: names begin with ./, no tag.
write("kaniko.tar", [("./", None), (f"./sha256:{config_hex}", config), *((f"./{n}", d) for n, d in members),
                     ("./manifest.json", js([{"Config": f"sha256:{config_hex}", "RepoTags": None,
                                              "Layers": [n for n, _ in members]}]))])

# bazel rules_docker: sorted, no times, layers named by number.
names = [f"{number:03}/layer.tar" for number in range(len(layers))]
MTIME = 0
write("bazel.tar", sorted([*zip(names, layers), (f"{config_hex}.json", config), ("manifest.json", js([
    {"Config": f"{config_hex}.json", "Layers": names, "RepoTags": ["bazel/shop:image"]}]))]))
