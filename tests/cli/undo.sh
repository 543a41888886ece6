#!/usr/bin/env bash
# -m undo takes the last change back to the byte, the length and the time; it can be taken back itself. A log that
# doesn't fit is refused.
source "$(dirname "$0")/lib.bash"

image original -o cluster_size=4k
doubled original
for what in refcount-zero=3 reftable-zeroed; do damage original $what; done
truncate -s -1000 original  # no multiple of a sector
touch -d '2001-02-03 04:05:06.789012345' original
cp -p original vm.qcow2
code 0 -R all vm.qcow2
says out '^To take it back: qcow2-dump -m undo -F vm\.qcow2\.undo vm\.qcow2$'
cp -p vm.qcow2 repaired
cp -p vm.qcow2.undo log
(($(stat -c %s repaired) > $(stat -c %s original))) || fail "the repair was to make it longer"

# ---- there and back again

code 0 -m undo -F vm.qcow2.undo vm.qcow2
says out 'vm\.qcow2 is what it was before'
says out '^To take that back: qcow2-dump -m undo -F vm\.qcow2\.undo\.2 vm\.qcow2$'
same vm.qcow2 original
[[ $(stat -c %y vm.qcow2) == $(stat -c %y original) ]] || fail "the time of the last change: $(stat -c %y vm.qcow2)"
code 0 -m undo -F vm.qcow2.undo.2 vm.qcow2
same vm.qcow2 repaired
[[ $(stat -c %y vm.qcow2) == $(stat -c %y repaired) ]] || fail "the time of the repair: $(stat -c %y vm.qcow2)"
code 0 --json -m undo -F vm.qcow2.undo.3 vm.qcow2
json 'd["mode"] == "undo" and d["exit-code"] == 0 and d["undo"]["log"] == "vm.qcow2.undo.3" and d["undo"]["undo-log"] == "vm.qcow2.undo.4"'
same vm.qcow2 original
[[ $(ls vm.qcow2.undo*) == $'vm.qcow2.undo\nvm.qcow2.undo.2\nvm.qcow2.undo.3\nvm.qcow2.undo.4' ]] || fail "logs: $(ls vm.qcow2*)"
code 0 -m undo --no-undo -F vm.qcow2.undo.4 vm.qcow2
same vm.qcow2 repaired
[[ ! -e vm.qcow2.undo.5 ]] || fail "--no-undo made a log"
says_not out 'take that back'
code 0 -m undo --undo-log mine -F vm.qcow2.undo vm.qcow2
same vm.qcow2 original
code 0 -m undo --no-undo -F mine vm.qcow2
same vm.qcow2 repaired

# refused IMAGE LOG PATTERN: 234, and neither changes.
refused() {
  cp -p "$1" image.before
  cp -p "$2" log.before
  ls >files.before
  code 234 -m undo -F "$2" "$1"
  says err "^qcow2-dump: .*$3"
  code 234 --dry-run -m undo -F "$2" "$1"
  code 234 --no-undo -m undo -F "$2" "$1"
  same "$1" image.before
  same "$2" log.before
  [[ $(stat -c '%s %y' "$1") == $(stat -c '%s %y' image.before) ]] || fail "the image was touched"
  [[ -z $(comm -13 files.before <(ls)) ]] || fail "there are new files: $(comm -13 files.before <(ls))"
}
touch image.before log.before files.before out err

# ---- what doesn't fit

image another.qcow2 -o cluster_size=4k
refused another.qcow2 log 'another image'
refused original log 'already as it was before'
cp -p repaired changed.qcow2
qemu-io -c 'write -P 99 20M 64k' changed.qcow2 >/dev/null
refused changed.qcow2 log 'changed since|another image'
cp -p repaired changed.qcow2
touch changed.qcow2
refused changed.qcow2 log 'changed since'
cp repaired changed.qcow2  # another time
poke changed.qcow2 0x8000 ff
refused changed.qcow2 log 'changed since|another image'
cp -p repaired changed.qcow2
truncate -s +64k changed.qcow2
refused changed.qcow2 log 'bytes now'

# ---- logs that are none

touch empty
refused vm.qcow2 empty 'no undo log'
refused vm.qcow2 another.qcow2 'no undo log'
code 234 -m undo -F vm.qcow2 vm.qcow2
says err 'the image itself'
head -c 100 log >short
refused vm.qcow2 short 'no undo log|damaged|too early'
cp log unsealed
dd if=/dev/zero of=unsealed bs=512 count=1 conv=notrunc status=none
refused vm.qcow2 unsealed 'never completed'
# forced LOG CODE: whatever of the log is whole is used, and it is told that something isn't.
forced() {
  cp -p repaired forced.qcow2
  code "$2" --force --no-undo -m undo -F "$1" forced.qcow2
  if (($2 == 0)); then says out 'by force .*damaged'; fi
}
size=$(stat -c %s log)
for ((at = 12; at < size; at += size / 16 + 1)); do
  cp log flipped
  python3 - flipped $at <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ 1 << int(sys.argv[2]) % 8]))
PY
  refused vm.qcow2 flipped '(damaged|another version)'
  forced flipped $((at < 512 ? 234 : 0))
done
for bytes in 1 24 512 $((size / 2)); do
  head -c -$bytes log >torn
  refused vm.qcow2 torn 'damaged.*(too early|cut off|missing)'
  forced torn 0
done
same vm.qcow2 repaired
code 254 -m undo -F missing vm.qcow2
code 254 -m undo -F log missing
code 234 -m undo vm.qcow2
says err 'F IMAGE\.undo'

# ---- and what --force does about it

cp -p repaired touched.qcow2
touch touched.qcow2
code 0 --force -m undo -F log touched.qcow2
same touched.qcow2 original
says out 'by force .*changed since'
cp log log.changed
cp -p repaired changed.qcow2
qemu-io -c 'write -P 99 0 4k' changed.qcow2 >/dev/null
cp changed.qcow2 changed.before
code 0 --force -m undo -F log.changed changed.qcow2
says out 'take that back'
code 0 -m undo -F changed.qcow2.undo changed.qcow2
same changed.qcow2 changed.before

# ---- names

for _ in 1 2 3; do
  cp original names.qcow2
  code 0 -R all names.qcow2
done
[[ $(ls names.qcow2.undo*) == $'names.qcow2.undo\nnames.qcow2.undo.2\nnames.qcow2.undo.3' ]] || fail "logs: $(ls names*)"
cp original names.qcow2
code 0 -R all --no-undo names.qcow2
says out "can't be taken back"
[[ ! -e names.qcow2.undo.4 ]] || fail "--no-undo made a log"
mkdir -p "a folder"
cp original "a folder/it's.qcow2"
code 0 -R all "a folder/it's.qcow2"
command=$(sed -n 's/^To take it back: qcow2-dump //p' out)
eval "code 0 $command"
same "a folder/it's.qcow2" original
[[ $(stat -c %a "a folder/it's.qcow2.undo") == 600 ]] || fail "everybody may read the log"
