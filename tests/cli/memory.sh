#!/usr/bin/env bash
# Memory follows what a file holds, not what it claims: a dump of 30 MiB of text, from tables of 2 MiB and of 512 bytes.
source "$(dirname "$0")/lib.bash"

qemu-img create -q -f qcow2 -o cluster_size=2M,preallocation=metadata large.qcow2 500G
modest 0 -m dump -f large.qcow2
[[ $(grep -c $'^\tl2 table' out) == 256000 ]] || fail "lines are missing"
qemu-img create -q -f qcow2 -o cluster_size=512,preallocation=metadata small.qcow2 100M
modest 0 -m dump -f small.qcow2
[[ $(grep -c $'^\tl2 table' out) == 204800 ]] || fail "lines are missing"

# A file that is huge and empty, but for a header that says so.
qemu-img create -q -f qcow2 sparse.qcow2 1T
truncate -s 8T sparse.qcow2
modest 0 -m dump sparse.qcow2

# Many snapshots, each with a table of 2 MiB of its own: 60 MiB that map one stretch of the disk.
qemu-img create -q -f qcow2 -o cluster_size=2M snapshots.qcow2 100G
for n in {1..30}; do
  qemu-io -f qcow2 -c "write -P $n 0 64k" snapshots.qcow2 >qemu-io.log
  snapshot snapshots.qcow2 "$n"
done
modest 0 snapshots.qcow2
