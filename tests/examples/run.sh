#!/usr/bin/env bash
# run.sh FOLDER: the programs of examples/, built there, do what their first lines say.
source "$(dirname "${BASH_SOURCE[0]}")/../cli/lib.bash"
programs=$1

# repair_and_back
image vm.qcow2
damage vm.qcow2 refcount-zero=3
cp vm.qcow2 before.qcow2
"$programs/repair_and_back" vm.qcow2 >out
cat >wanted <<'TEXT'
checked: The image has 3 refcounts too low and 2 COPIED flags wrong; it can be repaired.
would change 0x20000: refcount of cluster 0 at 0x0: 0 -> 1
would change 0x20008: refcount of cluster 4 at 0x40000: 0 -> 1
would change 0x20014: refcount of cluster 10 at 0xa0000: 0 -> 1
repaired: Nothing is wrong with this image.
taken back by vm.qcow2.undo: The image has 3 refcounts too low and 2 COPIED flags wrong; it can be repaired.
TEXT
same out wanted
same vm.qcow2 before.qcow2
[[ -e vm.qcow2.undo ]] || fail "the log is gone"
