#!/bin/bash
# multiarch/: a layout with an index of two platforms and their attestations, as buildx pushes them, a nested index,
# a platform that is not there, and an artifact.
. "$(dirname "$0")/lib.sh"

to=$OUT/multiarch
rm -rf "$to"
add() { # add TAG PLATFORM-OPTIONS...
  local id
  id=$(builda from --quiet --signature-policy "$T/policy.json" "${@:2}" scratch)
  builda config --author testdata --cmd "[\"/hello\"]" --env "BUILT_FOR=$1" "$id"
  mkdir -p "$T/$1/etc"
  echo "hello from $1" >"$T/$1/hello" && chmod 755 "$T/$1/hello"
  echo common >"$T/$1/etc/common"
  settle "$T/$1"
  builda add --quiet "$id" "$T/$1/etc" /etc >/dev/null
  builda commit --quiet --timestamp "$SOURCE_DATE_EPOCH" "$id" "$1" >/dev/null # a layer of its own for etc
  id=$(builda from --quiet "${@:2}" --pull-never "localhost/$1")
  builda add --quiet "$id" "$T/$1/hello" /hello >/dev/null
  builda commit --quiet --timestamp "$SOURCE_DATE_EPOCH" "$id" "$1-2" >/dev/null
  builda push --quiet --signature-policy "$T/policy.json" "$1-2" "oci:$to:$1"
}
add amd64 --arch amd64
add arm64 --arch arm64 --variant v8
python3 "$HERE/multiarch.py" "$to"
chmod -R go+rX "$to"
