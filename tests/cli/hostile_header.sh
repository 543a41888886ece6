#!/usr/bin/env bash
# A header that claims the impossible: a finding with its place, the rest checked, little memory and time.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
snapshot vm.qcow2 first
# hostile OFFSET HEXBYTES CODE
hostile() {
  cp vm.qcow2 hostile.qcow2
  poke hostile.qcow2 "$1" "$2"
  for mode in info check dump; do
    modest "$4" -m $mode hostile.qcow2
  done
  modest "$4" -m error hostile.qcow2
  says out "$3"
  says out 'l1_table_offset'
}
hostile 36 80000000 'header\.l1-size' 6                  # L1 of 2^31 entries
hostile 36 ffffffff 'header\.l1-size' 6
hostile 60 80000000 'snapshot\.table' 5                  # 2^31 snapshots
hostile 60 ffffffff 'snapshot\.table' 5
hostile 40 0000100000000000 'header\.l1-offset' 6        # L1 past the end
hostile 48 0000100000000000 'header\.refcount-table' 6   # refcount table past the end
hostile 56 ffffffff 'header\.refcount-table' 6           # refcount table of 2^32 clusters
hostile 64 0000100000000000 'snapshot\.table' 5          # snapshot table past the end
hostile 24 7fffffffffffffff 'header\.' 6                 # a disk of 2^63 bytes
hostile 20 00000040 'header\.cluster-bits' 6
hostile 96 00000040 'header\.refcount-order' 6
