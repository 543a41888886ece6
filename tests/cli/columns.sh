#!/usr/bin/env bash
# A line of -m error fits 80 columns, but for those whose shape scripts know, and words that can't be broken.
source "$(dirname "$0")/lib.bash"

image good.qcow2
snapshot good.qcow2 first
qemu-io -c 'write -P 8 0 1M' good.qcow2 >qemu-io.log  # so that the snapshot has an L2 table of its own
for what in l2-dup l2-unaligned l1-past-end refcount-zero=3 refcount-leak=2 snapshot-l2-unaligned data-on-metadata \
  snapshot-l1-past-end reftable-zeroed compressed-past-end; do
  cp good.qcow2 vm.qcow2
  damage vm.qcow2 $what
  "$QCOW2_DUMP" -m error vm.qcow2 >out || true
  says out '^(ERROR|LEAK|WARNING) \['
  ! grep -vE '^(REUSED|(L1|L2|Refcount) Table:|Refcount: |(Repair|Run): )' out | grep -E '^.{81}' || fail "$what: wide lines"
done
