#!/bin/bash
# whiteouts.tar, hardlinks.tar: layers as the engine's overlay2 driver writes them (docker commit, docker save).
# whiteouts-umoci.tar: umoci's whiteouts and opaque markers (umoci insert, repack).
. "$(dirname "$0")/lib.sh"

base=$T/base
mkdir -p "$base"/{etc,bin,keep/sub,opaque/sub,todir,tofile/sub,linkdir,again,deep/a/b/c}
for f in keep/one keep/sub/two opaque/old opaque/sub/old todir/../becomes-dir tofile/lost tofile/sub/lost \
  gone linkdir/lost again/first deep/a/b/c/gone deep/a/stays becomes-link; do
  echo "base: $f" >"$base/$f"
done
chmod 1777 "$base/keep"
settle "$base"
pack "$base" "$T/base.tar"

start_docker overlay2
docker import "$T/base.tar" base:1 >/dev/null
commit white:1 base:1 'b=/busybox
  $b rm /gone /deep/a/b/c/gone; $b rm -r /again
  $b rm -r /opaque; $b mkdir /opaque; echo new >/opaque/new
  $b rm /becomes-dir; $b mkdir /becomes-dir; echo in >/becomes-dir/in
  $b rm -r /tofile; echo file >/tofile
  $b rm -r /linkdir; $b ln -s keep /linkdir
  $b rm /becomes-link; $b ln -s keep/one /becomes-link'
commit white:2 white:1 'b=/busybox
  $b mkdir /again; echo second >/again/second; echo back >/gone
  $b rm /tofile; $b mkdir /tofile; echo dir >/tofile/dir-again
  $b rm -r /deep/a/b; $b chmod 700 /keep/sub'
commit white:3 white:2 'b=/busybox; $b rm -r /again /opaque; $b rm /gone; $b mkdir -m 750 /opaque'
save "$OUT/whiteouts.tar" white:3

commit links:1 base:1 'b=/busybox; $b mkdir /l; cd /l; echo content >b-file
  $b ln b-file a-link; $b ln b-file z-link; $b ln -s b-file sym; $b ln sym sym-link; $b ln /keep/one from-lower'
commit links:2 links:1 'b=/busybox; cd /l; $b ln b-file later-link; $b rm z-link; echo changed >/keep/one'
commit links:3 links:2 'b=/busybox; cd /l; $b rm b-file; echo other >b-file; $b rm sym'
save "$OUT/hardlinks.tar" links:3
stop_docker

layout=$T/layout image=$T/layout:white
umoci init --layout "$layout"
umoci new --image "$image"
umoci insert --image "$image" "$base" /
umoci insert --image "$image" --whiteout /gone
umoci insert --image "$image" --opaque "$base/keep" /opaque
umoci insert --image "$image" "$base/gone" /tofile
umoci insert --image "$image" --whiteout /keep
umoci insert --image "$image" "$base/keep/sub" /keep
umoci unpack --image "$image" "$T/bundle"
rm -r "$T/bundle/rootfs/deep/a" "$T/bundle/rootfs/linkdir"
ln -s again "$T/bundle/rootfs/linkdir"
umoci repack --image "$image" "$T/bundle"
rm -f "$OUT/whiteouts-umoci.tar"
skop copy --quiet "oci:$image" "oci-archive:$OUT/whiteouts-umoci.tar:white"
