#!/usr/bin/env bash
# A repair that was killed has left a log that isn't done. The next one takes the image back by it, says so, and repairs.
source "$(dirname "$0")/lib.bash"

# unfinished LOG: makes a log say what it says while its repair is writing.
unfinished() {
  python3 - "$1" <<'PY'
import struct, sys, zlib
with open(sys.argv[1], "r+b") as file:
    head = bytearray(file.read(512))
    place = 508
    assert struct.unpack_from(">I", head, 12)[0] == 2, "the log of a whole repair is done"
    struct.pack_into(">I", head, 12, 1)
    struct.pack_into(">I", head, place, zlib.crc32(head[:place]))
    file.seek(0)
    file.write(head)
PY
}

image vm.qcow2
damage vm.qcow2 refcount-zero
cp vm.qcow2 broken.qcow2
code 4 vm.qcow2
code 0 -R all vm.qcow2
cp vm.qcow2 whole.qcow2
# A whole repair whose log just lacks the mark is not taken back: the guest may have gone on with it.
unfinished vm.qcow2.undo
code 0 -R all vm.qcow2
says_not out 'interrupted'
cmp vm.qcow2 whole.qcow2
[[ -f vm.qcow2.undo && ! -e vm.qcow2.undo.2 ]] || fail "nothing was done, so no log is made or removed"

# Half of it is: the first of two changed sectors is still as before.
cp broken.qcow2 vm.qcow2
rm vm.qcow2.undo
poke vm.qcow2 72 0000000000000001
cp vm.qcow2 broken.qcow2
code 0 -R all vm.qcow2
cp vm.qcow2 whole.qcow2
unfinished vm.qcow2.undo
poke vm.qcow2 72 0000000000000001
code 0 -R all vm.qcow2
says out 'interrupted'
says out 'vm\.qcow2\.undo,'
cmp vm.qcow2 whole.qcow2
[[ -f vm.qcow2.undo && ! -e vm.qcow2.undo.2 ]] || fail "the used log is gone, the new one takes its name"
code 0 -R all vm.qcow2
says_not out 'interrupted'
code 0 -m undo -F vm.qcow2.undo vm.qcow2
cmp vm.qcow2 broken.qcow2

# A log that doesn't fit is not used, and not touched.
cp whole.qcow2 other.qcow2
damage other.qcow2 refcount-leak
cp vm.qcow2.undo other.qcow2.undo
unfinished other.qcow2.undo
poke other.qcow2 0x20 0001
sha256sum other.qcow2.undo >before
code 6 -R leak other.qcow2
says_not out 'interrupted'
sha256sum --quiet -c before
