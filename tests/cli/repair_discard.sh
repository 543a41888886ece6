#!/usr/bin/env bash
# -R discard gives the space of free clusters back and cuts the file off behind the last one in use. The guest reads the
# same, and it can be taken back. A damaged image is refused.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
qemu-io -f qcow2 -c 'write -P 44 40M 8M' -c 'write -P 45 50M 2M' vm.qcow2 >qemu-io.log
snapshot vm.qcow2 first
qemu-io -f qcow2 -c 'write -P 46 0 1M' -c 'write -P 47 56M 1M' vm.qcow2 >qemu-io.log
cp vm.qcow2 shared
qemu-img snapshot -d first vm.qcow2
# Free clusters that still hold what was there: QEMU frees them, and doesn't tell the file system.
qemu-io --image-opts -c 'discard 41M 5M' -c 'discard 56M 1M' \
  driver=qcow2,discard=unmap,pass-discard-request=off,file.filename=vm.qcow2 >qemu-io.log
head -c 300000 /dev/urandom >>vm.qcow2  # and a rest behind the end
cp vm.qcow2 original
content=$(guest vm.qcow2)

code 0 --dry-run -R discard vm.qcow2
says out 'become a hole'
says out 'cut off behind the last cluster in use'
same vm.qcow2 original

blocks=$(stat -c %b vm.qcow2)
code 0 -R discard vm.qcow2
says out 'become a hole'
says out '^[0-9]+ bytes were given back\.$'
given=$(sed -nE 's/^([0-9]+) bytes were given back.*/\1/p' out)
less=$(((blocks - $(stat -c %b vm.qcow2)) * 512))
((given > 4 << 20)) || fail "only $given bytes were given back"
((given - less <= 65536 && less - given <= 65536)) || fail "$given bytes were given back, and the file has $less less"
[[ $(guest vm.qcow2) == "$content" ]] || fail "the guest reads something else"
qemu-img check vm.qcow2 >check 2>&1 || fail "qemu-img doesn't agree"
end=$(sed -nE 's/^Image end offset: //p' check)
[[ $(stat -c %s vm.qcow2) == "$end" ]] || fail "the file has $(stat -c %s vm.qcow2) bytes, and its last cluster ends at $end"
cp vm.qcow2 discarded

# There is nothing more to be given back.
cp vm.qcow2.undo log
code 0 -R discard vm.qcow2
says out 'nothing is to be done'
[[ ! -e vm.qcow2.undo.2 ]] || fail "a log of nothing"
same vm.qcow2 discarded

# The guest can go on.
cp vm.qcow2 used
qemu-io -f qcow2 -c 'write -P 48 41M 6M' used >qemu-io.log
qemu-img check -q used || fail "qemu-img doesn't agree after more writes"

undone vm.qcow2 vm.qcow2.undo original
qemu-img check -q vm.qcow2 || fail "qemu-img doesn't agree after undo"

# What snapshots hold isn't free.
cp shared vm.qcow2
first=$(guest vm.qcow2 first)
code 0 -R discard vm.qcow2
[[ $(guest vm.qcow2 first) == "$first" ]] || fail "the snapshot reads something else"
rm vm.qcow2.undo*

# As JSON.
cp original vm.qcow2
code 0 --json -R discard vm.qcow2
json 'd["repair"]["bytes-given-back"] > 4 << 20 and all(a["code"] == "discard" for a in d["repair"]["actions"])'
rm vm.qcow2.undo*

# Not while anything is wrong.
for what in l2-dup l2-unaligned l1-entry-zeroed refcount-zero l1-past-end reftable-unaligned snapshot-l2-unaligned; do
  if [[ $what == snapshot* ]]; then cp shared vm.qcow2; else cp original vm.qcow2; fi
  damage vm.qcow2 $what
  cp vm.qcow2 damaged
  got=0
  "$QCOW2_DUMP" -R discard vm.qcow2 >out 2>err || got=$?
  ((got > 0 && got <= 6)) || fail "$what: exit code $got"
  says out 'nothing is discarded'
  same vm.qcow2 damaged
done
