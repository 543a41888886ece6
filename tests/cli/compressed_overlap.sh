#!/usr/bin/env bash
# Compressed data in a cluster that QEMU has freed and given to somebody else is damage, though QEMU makes it and
# `qemu-img check` finds nothing: the other's content is gone there. The repair separates the two, and keeps both.
source "$(dirname "$0")/lib.bash"

python3 "$here/../tools/mkimage.py" "$here/../images/cluster.compressed-overlap-vm-state/recipe" . >/dev/null
mv image.qcow2 image
reads() { qemu-io -r -f qcow2 -c "read $2" "$1" >qemu-io.log && ! grep -q failed qemu-io.log; }
vm_state() { qemu-io -r -f qcow2 -c "read -v -b 0 12k" "$1" | grep ':  '; }

qemu-img check -q image || fail "qemu-img check finds it: tell so where the problem is explained"
! reads image '-b -P 5 8k 4k' || fail "the VM state is whole"
reads image '-P 2 64k 4k' && reads image '-P 3 128k 4k' || fail "the compressed data is broken"

cp image before
code 4 -c -m error image
tr -s '\n ' ' ' <out >line
says line 'compressed guest offset 0x20000 .*VM state at guest offset 0x202000 .*; compressed data lies from 0x8[0-9a-f]{3} to'
says line "But what isn't compressed was there"
code 0 -R reuse image
code 0 -c image
reads image '-P 2 64k 4k' && reads image '-P 3 128k 4k' || fail "the repair breaks the compressed data"
same <(vm_state before) <(vm_state image)
undone image image.undo before
