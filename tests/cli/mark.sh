#!/usr/bin/env bash
# -M and -C: one bit of the header, in images of every kind; QEMU sees it. Version 2 has no such bits. -C looks first.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/features.bash"

image=case/image.qcow2 target=case/image.qcow2

# bits IMAGE: the incompatible features, 8 bytes.
bits() { od -An -tx1 -j72 -N8 "$1" | tr -d ' \n'; }

turn=0
for kind in "${all_kinds[@]}"; do
  case_of "$kind"
  original=made/$kind/image.qcow2
  if [[ $kind == v2 ]]; then
    for option in -M -C; do
      for bit in corrupt dirty; do
        cannot 234 "has no $bit bit: version 2 knows no feature bits; nothing was changed" $option $bit $image
      done
    done
    continue
  fi
  # The name, the exit code, the value, and whether QEMU shall say that it is corrupt.
  # Both where tables are shaped otherwise or other bits go with them; else each kind has one.
  marks=(corrupt:3:2:true dirty:0:1:false)
  [[ $kind =~ ^(plain|512|extended-l2|lazy|bitmaps)$ ]] || marks=("${marks[turn++ % 2]}")
  for bit in "${marks[@]}"; do
    IFS=: read -r name state value corrupt <<<"$bit"
    code "$state" -M "$name" $image
    says out "$name bit set"
    flipped $image "$original" 79 "$value"
    [[ $(qemu-img info $image) == *"corrupt: $corrupt"* ]] || fail "$kind: QEMU sees no $name bit"
    cp -p $image marked
    code "$state" -M "$name" $image
    says out 'nothing is to be done'
    same $image marked
    code 0 -C "$name" $image
    says out "$name bit cleared"
    clean "$kind" $image
    same $image "$original"
    code 0 -C "$name" $image
    says out 'nothing is to be done'
    # Both logs, the last one first.
    code 0 -m undo --no-undo -F $image.undo.2 $image
    same $image marked
    taken_back $image "$original"
    rm $image.undo*
  done
done

# ---- -C looks first

case_of plain
damage $image refcount-zero=3
code 4 -M corrupt --no-undo $image
cp -p $image broken.qcow2
original=broken.qcow2
cannot 255 'the corrupt bit stays set: not everything is in order \(refcount\.low, for one\).*--force' -C corrupt $image
code 4 -C corrupt --force $image
(($((16#$(bits $image) & 2)) == 0)) || fail "the bit is still set"
taken_back $image broken.qcow2

# Leaks are no reason to keep it; nor is the other bit.
case_of plain
damage $image refcount-leak=3
code 3 -M corrupt --no-undo $image
code 3 -M dirty --no-undo $image
code 1 -C corrupt --no-undo $image
code 1 -C dirty --no-undo $image
[[ $(bits $image) == 0000000000000000 ]] || fail "$(bits $image)"

# A dry run, several images, another writer, no qcow2.
case_of plain
cp $image other.qcow2
code 0 -M dirty --dry-run $image other.qcow2
same $image other.qcow2
[[ $(bits $image) == 0000000000000000 ]] || fail "a dry run has written"
code 3 -M corrupt $image other.qcow2
[[ $(bits other.qcow2) == 0000000000000002 ]] || fail "the second image isn't marked"
cp -p made/plain/image.qcow2 original
target=made/plain/image.qcow2 original=original
no_log -M corrupt made/plain/image.qcow2
hold made/plain/image.qcow2
code 245 -M corrupt made/plain/image.qcow2
let_go
head -c 1M /dev/urandom >noise
code 234 -M corrupt noise
says err 'is no qcow2 image'
