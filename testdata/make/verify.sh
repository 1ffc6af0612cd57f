#!/bin/bash
# Shows every image to the real tools. Writes tools.txt (who accepts what) and portable.txt (the images of which
# docker load + docker export on vfs and on overlay2, umoci unpack and podman have the same file system).
. "$(dirname "$0")/lib.sh"
cd "$OUT"

# Reference (as ocitool spells it), and the same for skopeo.
refs() {
  local f
  for f in app-v1 app-v2 whiteouts hardlinks encodings/{bazel,docker-1,docker-1.2,docker-1.2-{sym,hard}links,docker-25,docker-29} \
    encodings/{jib,kaniko,skopeo-docker,buildah-docker,podman-docker,untagged}; do
    echo "$f.tar docker-archive:$f.tar"
  done
  for f in gz zst xz bz2; do echo "encodings/docker-1.2.tar.$f docker-archive:encodings/docker-1.2.tar.$f"; done
  for f in pair:a pair:b shop:1.0 shop:1.1 registry.example:5000/team/shop:1.1; do
    echo "encodings/multi.tar:$f docker-archive:encodings/multi.tar:$f"
  done
  for f in packages-v1 packages-v2 whiteouts-umoci xattrs devices names sparse sparse-gnu dialects pax-global empty-layers links-across encodings/{oci-gzip,oci-zstd,buildah-oci,podman-oci}; do
    echo "$f.tar oci-archive:$f.tar"
  done
  for f in docker-25.tar docker-29.tar; do echo "oci-archive:encodings/$f oci-archive:encodings/$f"; done
  echo "encodings/oci-gzip.tar.gz oci-archive:encodings/oci-gzip.tar.gz"
  echo "encodings/oci oci:encodings/oci"
  for f in latest nested partial only-arm64 arm64 notes; do echo "multiarch:$f oci:multiarch:$f"; done
}
refs >"$T/refs"
ask() { "$@" >"$T/said" 2>&1 && echo yes || { echo "$ref: $*: $(tail -2 "$T/said")" >&2; echo no; }; }
file() { sed -E 's/^(oci|docker)-archive://; s/\.tar:.*/.tar/' <<<"$1"; }

declare -A row
n=0
while read -r ref skopeo; do
  n=$((n + 1)) w=$T/$n && echo "-- $ref" >>"$T/log"
  mkdir "$w"
  row[$ref]=$(ask skop inspect "$skopeo")
  if [ -f "$(file "$ref")" ]; then
    row[$ref]+=" $(ask podman --root "$w/c" --runroot "$w/r" --storage-driver vfs load --input "$(file "$ref")")"
  else
    row[$ref]+=" -"
  fi
  if skop copy --quiet "$skopeo" "oci:$w/oci:x" && umoci unpack --image "$w/oci:x" "$w/bundle" >/dev/null; then
    row[$ref]+=" yes"
    skop copy --quiet "oci:$w/oci:x" "docker-archive:$w/save.tar:checked:$n" || true
    if skop copy --quiet "oci:$w/oci:x" "containers-storage:[vfs@$T/containers+$T/run]localhost/checked:$n" &&
      from=$(podm image mount "localhost/checked:$n"); then
      python3 "$HERE/compare.py" "$w/bundle/rootfs" "$from" >"$w/podman" 2>&1 || true
    fi
  else
    row[$ref]+=" no"
  fi 2>>"$T/log"
done <"$T/refs"

for driver in vfs overlay2; do
  start_docker $driver
  n=0
  while read -r ref _; do
    n=$((n + 1)) w=$T/$n
    if [ -f "$(file "$ref")" ]; then
      row[$ref]+=" $(ask docker load --input "$(file "$ref")")"
    else
      row[$ref]+=" -"
    fi
    if [ -f "$w/save.tar" ] && docker load --quiet --input "$w/save.tar" >/dev/null; then
      id=$(docker create "checked:$n" /none) && docker export --output "$w/export" "$id"
      python3 "$HERE/compare.py" "$w/bundle/rootfs" "$w/export" >"$w/$driver" 2>&1 || true
      docker rm "$id" >/dev/null
      rm -f "$w/export"
    fi 2>>"$T/log"
  done <"$T/refs"
  stop_docker
done

{
  echo "image skopeo podman umoci docker-vfs docker-overlay2 agree"
  n=0
  while read -r ref _; do
    n=$((n + 1)) agree=
    for tool in podman vfs overlay2; do
      if [ ! -e "$T/$n/$tool" ]; then agree+=",no-$tool"; elif [ -s "$T/$n/$tool" ]; then
        agree+=",not-$tool"
        { echo "== $ref: umoci and $tool"; head -12 "$T/$n/$tool"; } >&2
      fi
    done
    echo "$ref ${row[$ref]} ${agree:-,all}"
  done <"$T/refs"
} | sed 's/ ,/ /' | column -t >tools.txt
awk '$NF == "all" {sub(/^oci-archive:/, "&testdata/") || sub(/^/, "testdata/"); print $1}' tools.txt >portable.txt
cat "$T/log" >&2
cat tools.txt
