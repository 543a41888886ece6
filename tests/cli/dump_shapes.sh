#!/usr/bin/env bash
# The shapes of a dump's lines, as scripts grep for them.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
snapshot vm.qcow2 first
code 0 -m dump vm.qcow2
says out '^Active Snapshot:$'
says out '^Inactive Snapshot:$'
says out '^L1 Table:       \[offset: 0x30000, len: 1\]$'
says out '^Refcount Table: \[offset: 0x10000, len: 8192\]$'
says out '^l1 table\[   0\], l2 offset: 0x40000$'
says out $'^\tl2 table\\[   0\\], data offset: 0x50000 \\| vdisk offset: 0x0$'
says out $'^\tl2 table\\[  80\\], data offset: 0x[0-9a-f]+ \\| vdisk offset: 0x500000$'
says out '^refcount table\[   0\], offset: 0x20000$'
says out $'^\trefcount block\\[    5\\], refcount: 2 \\| reference: 2 \\| cluster\\[5\\] offset: 0x50000$'

qemu-io -c 'write 0 64k' vm.qcow2 >/dev/null
code 0 -m dump -f vm.qcow2
says out '^l1 table\[   0\], l2 offset: 0x[0-9a-f]+ \[0x8000[0-9a-f]+: COPIED\]$'
says out $'^\tl2 table\\[   0\\], data offset: 0x[0-9a-f]+ \\[0x8[0-9a-f]+: COPIED\\] \\| vdisk offset: 0x0$'
says out $'^\tl2 table\\[   1\\], data offset: 0x60000 \\[0x60000\\] \\| vdisk offset: 0x10000$'
says out $'^\tl2 table\\[  80\\], data offset: 0x[0-9a-f]+ \\[0x4[0-9a-f]{15}: COMPRESSED\\] \\| vdisk offset: 0x500000$'

qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=64k sub.qcow2 64M
qemu-io -c 'write 0 64k' -c 'write 64k 2k' sub.qcow2 >/dev/null
code 0 -m dump sub.qcow2
says out $'^\tl2 table\\[   0\\], data offset: 0x[0-9a-f]+ \\[bitmap: 0xffffffff\\] \\| vdisk offset: 0x0$'
says out $'^\tl2 table\\[   1\\], data offset: 0x[0-9a-f]+ \\[bitmap: 0x1\\] \\| vdisk offset: 0x10000$'

damage vm.qcow2 refcount-leak=1
code 1 -m dump vm.qcow2
says out $'^\trefcount block\\[ +[0-9]+\\], refcount: 1 \\| reference: 0 \\[leak\\] \\| cluster'
damage vm.qcow2 l2-dup
code 4 -m dump vm.qcow2
says out $'^\trefcount block\\[ +[0-9]+\\], refcount: [0-9]+ \\| reference: [0-9]+ \\[error\\] \\| cluster'
says out '^REUSED  cluster offset: 0x[0-9a-f]+ \| l1_index:    0, l2_index: +[0-9]+ \[entry: 0x[0-9a-f]+\] \| refcount: [0-9]'
