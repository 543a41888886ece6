#!/usr/bin/env bash
# -N reads another way and finds the same.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
snapshot vm.qcow2 first
damage vm.qcow2 l2-dup
for mode in info error dump; do
  code 4 -m $mode vm.qcow2
  cp out cached
  code 4 -N -m $mode vm.qcow2
  cmp out cached || fail "$mode: -N changes the output"
done
