#!/usr/bin/env bash
# --dry-run plans what the repair then does, in text and JSON, writes nothing, and ends with the state as it is.
source "$(dirname "$0")/lib.bash"

image vm.qcow2 -o cluster_size=4k
snapshot vm.qcow2 first
qemu-io -c 'write -P 21 100k 200k' vm.qcow2 >/dev/null
for what in l2-dup refcount-zero=3 l2-copied-flip=2 refcount-leak=2 corrupt-bit; do damage vm.qcow2 $what; done
touch -d '2001-02-03 04:05:06' vm.qcow2
cp -p vm.qcow2 original
state() { stat -c '%Y %Z %s %b %i %a' vm.qcow2; }
before=$(state)
touch files out err planned
ls >files

for what in leak error reuse discard all; do
  code 4 --dry-run -R $what vm.qcow2
  says out 'a dry run: nothing is written'
  says_not out 'To take it back'
  code 4 --json --dry-run -R $what vm.qcow2
  json 'd["repair"]["dry-run"] is True and "undo-log" not in d["repair"] and d["exit-code"] == 4'
done
code 4 --dry-run --undo-log elsewhere -R all vm.qcow2
same vm.qcow2 original
[[ $(state) == "$before" ]] || fail "the file was touched"
new=$(comm -13 files <(ls))
[[ -z $new ]] || fail "there are new files: $new"

image leaky.qcow2
damage leaky.qcow2 refcount-leak=3
for what in leak error reuse all; do
  if [[ $what == leak ]]; then cp leaky.qcow2 original; else cp vm.qcow2 original; fi
  now=$([[ $what == leak ]] && echo 1 || echo 4)
  cp original image.qcow2
  code "$now" --json --dry-run -R $what image.qcow2
  cp out planned
  code "$now" --dry-run -R $what image.qcow2
  sed -n '/^Repair plan/,/^$/{/^ /p}' out >planned.text
  says out '^The image would be [a-z-]+ then; now it is (refcount|leak)\.$'
  then=$(sed -nE 's/^The image would be ([a-z-]+) then.*/\1/p' out)
  got=0
  "$QCOW2_DUMP" --json -R "$what" image.qcow2 >out || got=$?
  json "d['repair']['actions'] == json.load(open('planned'))['repair']['actions'] and d['repair']['actions']"
  json "d['repair']['refused'] == json.load(open('planned'))['repair']['refused']"
  json "json.load(open('planned'))['repair']['planned-status'] == '$then' == d['repair']['planned-status']"
  json "d['status'] == '$then' and d['exit-code'] == $got and not d['repair']['dry-run']"
  undone image.qcow2 image.qcow2.undo original
  code "$got" -R "$what" image.qcow2
  sed -n '/^Repair:$/,/^$/{/^ /p}' out >done.text
  same planned.text done.text
  rm image.qcow2*
done

# Where nothing is wrong, nothing is to be done.
image good.qcow2
cp good.qcow2 original
for options in "--dry-run" "" "--force"; do
  # shellcheck disable=SC2086
  code 0 -R all $options good.qcow2
  says out 'nothing is to be done'
done
same good.qcow2 original
[[ ! -e good.qcow2.undo ]] || fail "a log of nothing"

# Taking back can be tried, too.
cp vm.qcow2 image.qcow2
"$QCOW2_DUMP" -R all image.qcow2 >out || true
cp image.qcow2 repaired
cp image.qcow2.undo log
code 0 --dry-run -m undo -F image.qcow2.undo image.qcow2
same image.qcow2 repaired
same image.qcow2.undo log
[[ ! -e image.qcow2.undo.2 ]] || fail "a log of a dry run"
