# Shared by the scripts beside it: `. "$(dirname "$0")/lib.sh"`.
# Gives $OUT (testdata/), $HERE, $T (a temporary directory, removed at exit)
# and start_docker, which runs a private engine that ends with the script.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OUT=$(dirname "$HERE")
T=$(mktemp -d)
export SOURCE_DATE_EPOCH=1700000000 TZ=UTC LC_ALL=C.UTF-8 DOCKER_BUILDKIT=0
umask 022
DOCKERD=
stop_docker() {
  if [ -n "$DOCKERD" ]; then
    kill "$DOCKERD" 2>/dev/null || true
    wait "$DOCKERD" 2>/dev/null || true
    umount "$T"/docker/exec/netns/* 2>/dev/null || true
    umount "$T/docker" 2>/dev/null || true
    rm -rf "$T/docker"
    DOCKERD=
  fi
}
cleanup() {
  stop_docker
  rm -rf "$T"
}
trap cleanup EXIT

# pack DIR FILE [OPTION...]: a tar in a fixed order, owned by root
pack() { tar -C "$1" --sort=name --numeric-owner --owner=0 --group=0 "${@:3}" -cf "$2" .; }

# tiny_rm FILE: a 1 KB static program, so that RUN can delete without a shell
tiny_rm() { gcc -static -nostdlib -Os -s -Wl,-n,--build-id=none -o "$1" "$HERE/rm.c"; }

# save FILE NAME...: docker save, readable by others
save() { docker save --output "$@" && chmod 644 "$1"; }

# start_docker [vfs|overlay2]: overlay2 lives on a tmpfs, so that it works on an overlay too
start_docker() {
  local d=$T/docker
  mkdir -p "$d"
  if [ "${1:-vfs}" = overlay2 ]; then mount -t tmpfs -o mode=755 none "$d"; fi
  dockerd --iptables=false --bridge=none --storage-driver="${1:-vfs}" --data-root "$d/data" \
    --exec-root "$d/exec" --pidfile "$d/pid" -H "unix://$d/sock" >"$d/log" 2>&1 &
  DOCKERD=$!
  export DOCKER_HOST=unix://$d/sock DOCKER_API_VERSION=1.41
  for _ in $(seq 100); do
    docker version >/dev/null 2>&1 && return
    sleep 0.3
  done
  tail "$d/log" >&2
  return 1
}

# Fixed times under a directory, links themselves included.
settle() { find "$1" -exec touch -h -d "@${2:-$SOURCE_DATE_EPOCH}" {} +; }

build() { docker build --quiet --network host "$@" 2>/dev/null; } # stderr: the builder is deprecated
# commit NAME IMAGE SCRIPT: a layer made by a shell script; its busybox is mounted, not part of the image
commit() {
  local id
  id=$(docker create --network none --volume "$(command -v busybox):/busybox:ro" "$2" /busybox sh -euc "$3")
  docker start --attach "$id"
  docker commit --change 'CMD ["/busybox"]' "$id" "$1"
  docker rm "$id" >/dev/null
}
skop() { skopeo --insecure-policy "$@"; }
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$T/policy.json"
builda() { buildah --root "$T/containers" --runroot "$T/run" --storage-driver vfs "$@"; }
podm() { podman --root "$T/containers" --runroot "$T/run" --storage-driver vfs "$@"; }
