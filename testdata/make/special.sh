#!/bin/bash
# Odd entries in real layers. umoci insert: xattrs.tar, devices.tar, names.tar.
# GNU tar's own layers, added as they are by umoci raw add-layer: sparse*.tar, dialects.tar,
# pax-global.tar, empty-layers.tar, links-across.tar.
. "$(dirname "$0")/lib.sh"

new() { # new NAME: an empty image in a fresh layout
  image=$T/$1:latest name=$1
  umoci init --layout "$T/$1"
  umoci new --image "$image"
}
insert() { settle "$1"; umoci insert --image "$image" "$1" /; }
add() { umoci raw add-layer --image "$image" "$1"; }
finish() {
  umoci config --image "$image" --created 2023-11-14T22:13:20Z --config.cmd /bin/none --author testdata
  rm -f "$OUT/$name.tar"
  skop copy --quiet "oci:$image" "oci-archive:$OUT/$name.tar:latest"
}

new xattrs
d=$T/x/usr/bin && mkdir -p "$d"
for f in ping both plain; do echo "$f" >"$d/$f"; chmod 755 "$d/$f"; done
chmod 4755 "$d/both"
setfattr -n user.binary -v 0x00ff0a3d00 "$d/plain"
setfattr -n user.text -v 'a=b' "$d/plain"
setfattr -n user.dir -v yes "$T/x/usr"
setcap cap_net_raw+ep "$d/ping"
setcap cap_net_bind_service,cap_net_admin=eip "$d/both"
insert "$T/x"
mkdir -p "$T/x2/usr/bin"
cp -a "$d/ping" "$T/x2/usr/bin/ping" # the same content without its capability
cp -a --attributes-only "$d/plain" "$T/x2/usr/bin/new" 2>/dev/null || true
setcap cap_chown+p "$T/x2/usr/bin/new"
setcap -r "$T/x2/usr/bin/ping"
insert "$T/x2"
finish

new devices
d=$T/d && mkdir -p "$d"/{dev,bin,shared,tmp,locked}
mknod "$d/dev/null" c 1 3
mknod "$d/dev/big" c 300 70000
mknod "$d/dev/loop7" b 7 7
mkfifo "$d/dev/pipe"
mkdir "$d/locked/in" && echo kept >"$d/locked/in/file"
echo s >"$d/bin/su" && echo w >"$d/bin/wall" && echo t >"$d/bin/sticky"
chown 12:34 "$d/bin/wall"
chmod 4755 "$d/bin/su"; chmod 2755 "$d/bin/wall"; chmod 1644 "$d/bin/sticky"
chmod 1777 "$d/tmp"; chmod 2775 "$d/shared"; chmod 666 "$d/dev/null"; chmod 000 "$d/locked"
insert "$d"
finish

new names
d=$T/n && mkdir -p "$d"
python3 - "$d" <<'PY'
import os, sys

os.chdir(os.fsencode(sys.argv[1]))
part = b"long-" + b"n" * 95
names = [b"space in name ", b"new\nline", b"esc\x1b[31mred\x1b[0m", b"tab\there", b"not-utf8-\xff\xfe", "é-nfc-\u00e9-nfd-e\u0301".encode(),
         "emoji-\U0001f4e6".encode(), b"back`tick<b>", b"-dash", b"quote'\"", b"back\\slash", b"%s%n", b"rtl-\xe2\x80\xaetxt",
         b"99" + b"p" * 98, b"100" + b"p" * 98, b"n" * 255, b"c1-\xc2\x9b31m"]
for name in names:
    with open(name, "wb") as f:
        f.write(b"content\n")
os.mkdir("mark`up<")
open("mark`up</details>@mention [x](y)", "w").close()
path = b"deep"
os.mkdir(path)
for _ in range(4):
    path += b"/" + part
    os.mkdir(path)
with open(path + b"/end", "wb") as f:
    f.write(b"deep\n")
os.symlink(b"../" * 30 + b"esc\x1b]0;title\x07\xff", b"link-\xfe")
os.symlink(b"t" * 300, b"link-long")
os.link(path + b"/end", b"hard-to-long")
PY
insert "$d"
finish

new sparse
d=$T/s && mkdir "$d" && cd "$d"
for f in gnu-old pax-0.0 pax-0.1 pax-1.0; do
  printf 'start %s\n' "$f" >$f
  for k in 1 2 3 5 8 13; do printf 'at %s' $k | dd of=$f bs=65536 seek=$k conv=notrunc status=none; done
  truncate -s 1M $f # ends in a hole
done
truncate -s 64M hole # data nowhere
settle .
for v in 0.0 0.1 1.0; do
  tar -Sc --format=posix --sparse-version=$v --numeric-owner --owner=0 --group=0 \
    --pax-option='delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f' -f "../s-$v.tar" "pax-$v"
  add "../s-$v.tar"
done
finish

new sparse-gnu
tar -Sc --format=gnu --numeric-owner --owner=0 --group=0 -f ../s1.tar gnu-old hole && add ../s1.tar
finish

new dialects
d=$T/t && mkdir "$d" && cd "$d"
long=$(printf 'd%.0s' $(seq 99))/$(printf 'f%.0s' $(seq 120))
for f in v7 ustar gnu oldgnu pax; do
  mkdir -p $f
  echo $f >$f/file && ln $f/file $f/hard && ln -s file $f/sym
done
prefix=ustar/$(printf 'prefix-%020d/' 1 2 3 4) && mkdir -p "$prefix" && echo prefix >"${prefix}in-the-prefix-field"
for f in gnu oldgnu pax; do mkdir $f/${long%/*} && echo long >$f/$long && ln -s $long$long $f/longsym; done
settle .
for f in v7 ustar; do tar -c --format=$f --numeric-owner --owner=0 --group=0 -f ../t.tar $f && add ../t.tar; done
for f in gnu oldgnu; do
  touch -h -d @-86400.0 $f/file # negative and owner too big for octal: base-256
  tar -c --format=$f --numeric-owner --owner=big:3000000 --group=big:4000000 -f ../t.tar $f && add ../t.tar
done
touch -d @1700000000.123456789 pax/file && touch -h -d @-1.5 pax/sym
tar -c --format=pax --numeric-owner --owner=big:3000000 --group=big:4000000 --pax-option='exthdr.name=%d/PaxHeaders/%f' \
  -f ../t.tar pax && add ../t.tar
finish

new pax-global
tar -c --format=pax --numeric-owner --owner=0 --group=0 -f ../t.tar \
  --pax-option='globexthdr.name=pax_global_header,comment=made by a script,mtime=1600000000' pax/file && add ../t.tar
finish

new empty-layers
head -c 10240 /dev/zero >../zero.tar && add ../zero.tar && add ../zero.tar # the same empty layer twice
tar -c --format=gnu --numeric-owner --owner=0 --group=0 -b 1 -f ../t.tar v7/file
head -c 1024 ../t.tar >../noend.tar && add ../noend.tar                                         # no end-of-archive blocks
{ cat ../t.tar; head -c 2048 /dev/zero; echo after the end; } >../after.tar && add ../after.tar # bytes after the end
finish

new links-across
d=$T/l && mkdir -p "$d/a" && cd "$d"
echo lower >a/target && ln -s target a/sym && echo gone >a/deleted && settle .
pack . ../l0.tar && add ../l0.tar
python3 - ../l1.tar <<'PY'
import io, sys, tarfile

with tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT) as tar:
    def put(name, kind=tarfile.REGTYPE, link="", data=b""):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size, info.mtime, info.mode = kind, link, len(data), 1700000000, 0o644
        tar.addfile(info, io.BytesIO(data))
    put("a/to-lower", tarfile.LNKTYPE, "a/target")  # the target is only in the layer below
    put("a/to-lower-symlink", tarfile.LNKTYPE, "a/sym")
    put("a/to-deleted", tarfile.LNKTYPE, "./a/deleted")
    put("a/.wh.deleted")
    put("a/target", data=b"upper\n")  # and is overwritten after the link was made
    put("missing/parent/file", data=b"parents are not listed\n")
PY
add ../l1.tar
finish
