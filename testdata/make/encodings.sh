#!/bin/bash
# encodings/: the image of app-v2.tar in every form in which tools write images. multi.tar: several images in one.
. "$(dirname "$0")/lib.sh"

to=$OUT/encodings src=docker-archive:$OUT/app-v2.tar name=docker.io/library/shop:1.1
rm -rf "$to" && mkdir "$to"

cp "$OUT/app-v2.tar" "$to/docker-1.2.tar"
gzip -9nc "$OUT/app-v2.tar" >"$to/docker-1.2.tar.gz"
zstd -q19c "$OUT/app-v2.tar" >"$to/docker-1.2.tar.zst"
xz -c "$OUT/app-v2.tar" >"$to/docker-1.2.tar.xz"
bzip2 -c "$OUT/app-v2.tar" >"$to/docker-1.2.tar.bz2"

skop copy --quiet "$src" "docker-archive:$to/skopeo-docker.tar:shop:1.1"
skop copy --quiet "$src" "oci:$to/oci:1.1"
skop copy --quiet "$src" "oci-archive:$to/oci-gzip.tar:1.1"
skop copy --quiet --dest-compress-format zstd --dest-compress-level 19 "$src" "oci:$T/zstd:1.1"
skop copy --quiet "oci:$T/zstd:1.1" "oci-archive:$to/oci-zstd.tar:1.1"
gzip -9nc "$to/oci-gzip.tar" >"$to/oci-gzip.tar.gz"

id=$(builda pull --quiet --signature-policy "$T/policy.json" "$src")
for form in docker oci; do
  builda push --quiet --signature-policy "$T/policy.json" "$id" "$form-archive:$to/buildah-$form.tar:$name"
done
podm tag "$id" "$name"
podm save --quiet --format docker-archive --output "$to/podman-docker.tar" "$name"
podm save --quiet --format oci-archive --output "$to/podman-oci.tar" "$name"

python3 "$HERE/encodings.py" "$OUT/app-v2.tar" "$to/oci" "$to"

start_docker
docker load --quiet --input "$OUT/app-v1.tar"
docker load --quiet --input "$OUT/app-v2.tar"
docker tag shop:1.1 shop:latest
docker tag shop:1.1 registry.example:5000/team/shop:1.1
mkdir "$T/other" && echo other >"$T/other/first" && cp -r "$HERE/app/common/docs" "$T/other"
settle "$T/other"
# Two images that share a layer which is not their lowest: docker save makes one layer.tar a symlink to the other.
for n in a b; do
  printf 'FROM scratch\nADD first /%s\nADD docs.tar /\n' $n >"$T/other/Dockerfile"
  pack "$T/other/docs" "$T/other/docs.tar"
  build --tag "pair:$n" "$T/other"
done
save "$to/multi.tar" shop:1.0 shop:1.1 shop:latest registry.example:5000/team/shop:1.1 pair:a pair:b
untagged=$(docker image inspect --format '{{.Id}}' pair:a)
save "$to/untagged.tar" "$untagged"
chmod -R go+rX "$to"
