#!/bin/bash
# app-v1.tar, app-v2.tar: two versions of one app, by docker build and docker save (v1.2).
. "$(dirname "$0")/lib.sh"

root=$T/rootfs
mkdir -p "$root"/{bin,etc,tmp,usr/bin,srv}
tiny_rm "$root/bin/rm"
printf 'root:x:0:0:root:/root:/bin/sh\nshop:x:1000:1000::/srv/shop:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nshop:x:1000:\n' >"$root/etc/group"
printf 'NAME="Small Linux"\nID=small\nVERSION_ID=1\n' >"$root/etc/os-release"
ln -s ../../etc/os-release "$root/usr/os-release"
chmod 1777 "$root/tmp"
settle "$root"
pack "$root" "$T/rootfs.tar"

start_docker
for v in 1 2; do
  context=$T/v$v
  mkdir "$context"
  cp -r "$HERE/app/common/." "$HERE/app/v$v/." "$T/rootfs.tar" "$context"
  if [ "$v" = 2 ]; then chmod 4755 "$context/shop/bin/backup"; fi
  # A fresh checkout a month later: only the times of static/ and docs/ differ.
  settle "$context" $((SOURCE_DATE_EPOCH + v * 2592000))
  pack "$context/shop" "$context/shop.tar" # COPY would drop setuid
  build --tag "shop:1.$((v - 1))" "$context"
  save "$OUT/app-v$v.tar" "shop:1.$((v - 1))"
done
