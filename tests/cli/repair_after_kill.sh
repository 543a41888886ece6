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
mv vm.qcow2.undo vm.qcow2.undo.3  # older ones may have been removed
poke vm.qcow2 72 0000000000000001
cp vm.qcow2 half.qcow2
code 0 --json --dry-run -R all vm.qcow2
cp out planned
cmp vm.qcow2 half.qcow2
code 0 --json -R all vm.qcow2
python3 - planned out <<'PY' || fail "the dry run has planned something else"
import json, sys
planned, done = (json.load(open(name))["repair"] for name in sys.argv[1:])
sys.exit(not done["actions"] or any(planned[key] != done[key] for key in ("actions", "taken-back-by")))
PY
cp half.qcow2 vm.qcow2
mv vm.qcow2.undo vm.qcow2.undo.3
unfinished vm.qcow2.undo.3
code 0 -R all vm.qcow2
says out 'interrupted'
says out 'vm\.qcow2\.undo\.3,'
cmp vm.qcow2 whole.qcow2
[[ -f vm.qcow2.undo && ! -e vm.qcow2.undo.3 ]] || fail "the used log is gone, the new one takes the next name"
code 0 -R all vm.qcow2
says_not out 'interrupted'
code 0 -m undo -F vm.qcow2.undo vm.qcow2
cmp vm.qcow2 broken.qcow2

# Wherever the log of the next run goes, it looks for the one that was left beside the image.
rm vm.qcow2.undo*
code 0 -R all vm.qcow2
unfinished vm.qcow2.undo
cp half.qcow2 vm.qcow2
code 0 --dry-run -R all --undo-log elsewhere vm.qcow2
says out 'interrupted'
cmp vm.qcow2 half.qcow2
code 0 -R all --undo-log elsewhere vm.qcow2
says out 'vm\.qcow2\.undo,'
cmp vm.qcow2 whole.qcow2
[[ ! -e vm.qcow2.undo && -f elsewhere ]] || fail "the used log is gone, the new one is where it was asked for"
undone vm.qcow2 elsewhere broken.qcow2
code 0 -R all vm.qcow2

# The guest has gone on in what a repair had put behind the end: that is not cut off.
image grown.qcow2
doubled grown.qcow2
cp grown.qcow2 broken.qcow2
code 0 -R reuse grown.qcow2
unfinished grown.qcow2.undo
# half: the last sector that it has changed is as before.
python3 - broken.qcow2 grown.qcow2 <<'PY'
import sys
old = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "r+b") as file:
    new = file.read()
    at = max(at for at in range(0, len(old), 512) if old[at:at + 512] != new[at:at + 512])
    file.seek(at)
    file.write(old[at:at + 512])
PY
cp grown.qcow2 half.qcow2
"$QCOW2_DUMP" -R leak grown.qcow2 >out 2>err || true
says out 'interrupted'
cp half.qcow2 grown.qcow2
code 234 -m undo -F vm.qcow2.undo grown.qcow2
poke grown.qcow2 $(($(stat -c %s broken.qcow2) + 4096)) 6e6577
cp grown.qcow2 since.qcow2
code 0 -R reuse broken.qcow2
cp broken.qcow2.undo grown.qcow2.undo
unfinished grown.qcow2.undo
"$QCOW2_DUMP" -R leak grown.qcow2 >out 2>err || true
says_not out 'interrupted'
code 234 -m undo -F grown.qcow2.undo grown.qcow2
says err 'changed since'
cmp grown.qcow2 since.qcow2

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
