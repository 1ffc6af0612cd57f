#!/bin/bash
# packages-v1.tar, packages-v2.tar: an image before and after an update, with packages that dpkg and pip really installed; both
# made of small parts of their own. Not part of `make/all`. Tools: dpkg, pip (python3 -m pip), umoci, skopeo.
. "$(dirname "$0")/lib.sh"

deb() { # deb NAME VERSION ARCHITECTURE SOURCE: a package of the files in $T/NAME
  mkdir -p "$T/$1/DEBIAN"
  printf 'Package: %s\nVersion: %s\nArchitecture: %s\nSource: %s\nMaintainer: testdata <t@example.org>\nDescription: %s\n' \
    "$1" "$2" "$3" "$4" "part of a shop" >"$T/$1/DEBIAN/control"
  if [ -d "$T/$1/etc" ]; then (cd "$T/$1" && find etc -type f -printf '/%p\n') >"$T/$1/DEBIAN/conffiles"; fi
  settle "$T/$1"
  dpkg-deb --build --root-owner-group "$T/$1" "$T/$1.deb" >/dev/null
  dpkg --root="$root" --force-script-chrootless --force-architecture --log=/dev/null -i "$T/$1.deb" >/dev/null
  rm -rf "${T:?}/$1" "$T/$1.deb"
}

file() { # file PACKAGE PATH CONTENT
  mkdir -p "$(dirname "$T/$1/$2")"
  printf '%s\n' "$3" >"$T/$1/$2"
}

system() { # system LIBRARY-VERSION: the distribution's packages
  file base-files usr/lib/os-release 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
ID=debian
VERSION_ID="12"'
  deb base-files 12.4 all base-files
  file libtill1 usr/lib/x86_64-linux-gnu/libtill.so.1 "library of till $1"
  file libtill1 usr/share/doc/libtill1/changelog "till ($1)"
  deb libtill1 "$1" amd64 till
  file till bin/till "program of till $1" # through the link of a merged /usr
  file till etc/till.conf 'drawer=1'
  deb till "$1" amd64 till
}

python() { # python VERSION: a wheel that pip installs
  python3 - "$T" "$1" <<'PY'
import base64, hashlib, sys, zipfile

top, version = sys.argv[1:]
files = {
    "receipt/__init__.py": f"version = {version!r}\n",
    f"receipt-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: receipt\nVersion: {version}\nLicense: MIT\n",
    f"receipt-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: testdata\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
hashes = {name: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode() for name, text in files.items()}
record = f"receipt-{version}.dist-info/RECORD"
files[record] = "".join(f"{name},sha256={hashes[name]},{len(files[name])}\n" for name in hashes) + f"{record},,\n"
with zipfile.ZipFile(f"{top}/receipt-{version}-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(zipfile.ZipInfo(name, (2023, 11, 14, 22, 13, 20)), text)
PY
  python3 -m pip install --quiet --no-index --find-links "$T" --no-compile --root-user-action ignore \
    --target "$upper/usr/lib/python3/dist-packages" "receipt==$1"
}

image() { # image NAME LIBRARY-VERSION WHEEL-VERSION
  root=$T/$1-root upper=$T/$1-upper name=$1
  mkdir -p "$root/usr/bin" "$root/etc" "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/triggers"
  ln -s usr/bin "$root/bin"
  ln -s ../usr/lib/os-release "$root/etc/os-release"
  : >"$root/var/lib/dpkg/status"
  system "$2"
  rm -f "$root"/var/lib/dpkg/*-old "$root"/var/lib/dpkg/lock* "$root"/var/lib/dpkg/triggers/Lock
  mkdir -p "$upper"
  python "$3"
  settle "$root"
  settle "$upper"
  umoci init --layout "$T/$1"
  umoci new --image "$T/$1:latest"
  umoci insert --image "$T/$1:latest" --history.created_by "dpkg -i till.deb" --history.created 2023-11-14T22:13:20Z "$root" /
  umoci insert --image "$T/$1:latest" --history.created_by "pip install receipt==$3" --history.created 2023-11-14T22:13:20Z "$upper" /
  umoci config --image "$T/$1:latest" --created 2023-11-14T22:13:20Z --config.cmd /usr/bin/till --author testdata \
    --history.created_by "CMD till" --history.created 2023-11-14T22:13:20Z
  rm -f "$OUT/$1.tar"
  skop copy --quiet "oci:$T/$1:latest" "oci-archive:$OUT/$1.tar:latest"
}

image packages-v1 2.9-1 1.4.0
image packages-v2 2.10-1 1.5.0
