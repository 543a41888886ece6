#!/usr/bin/env bash
# What doesn't go together in a command that writes is refused before the image is opened: 234, one line on stderr.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
cp vm.qcow2 good.qcow2
damage vm.qcow2 refcount-zero
cp vm.qcow2 original
cp vm.qcow2 log.qcow2
code 0 -R all --undo-log log log.qcow2
touch out err files log.before
cp log log.before
ls >files

refused() {
  local pattern=$1
  shift
  code 234 "$@"
  [[ $(wc -l <err) == 1 ]] || fail "one line is wanted: $*"
  says err "^qcow2-dump: .*($pattern)"
  [[ ! -s out ]] || fail "something on stdout: $*"
}
refused 'exclude each other' -m undo -R all -F log vm.qcow2
refused 'exclude each other' -R leak -m undo -F log vm.qcow2
refused 'F IMAGE\.undo' -m undo vm.qcow2
refused 'F IMAGE\.undo' -m undo -F '' vm.qcow2
refused 'one image' -m undo -F log vm.qcow2 good.qcow2
refused 'no image' -m undo -F log
refused 'no image' -R all
refused '-F goes with' -R all -F log vm.qcow2
refused '-F goes with' -F log vm.qcow2
refused '-F goes with' -m error -F log vm.qcow2
refused '-H only reads' -H -R all vm.qcow2
refused '-H only reads' -H -m undo -F log vm.qcow2
refused 'exclude each other' -R all --undo-log mine --no-undo vm.qcow2
refused 'exclude each other' -m undo -F log --undo-log mine --no-undo vm.qcow2
refused 'one image' -R all --undo-log mine vm.qcow2 good.qcow2
for option in --dry-run --force --no-undo "--undo-log mine"; do
  for mode in "" "-m check" "-m error" "-m info" "-m dump" "-R check" "-R off"; do
    # shellcheck disable=SC2086
    refused 'go with what writes' $option $mode vm.qcow2
  done
done
refused "'everything' is unknown; choose from: .*leak.*error.*reuse.*discard.*all" -R everything vm.qcow2
refused "unknown" -R ALL vm.qcow2
refused '' -R
refused '' vm.qcow2 -R
refused '' -R all --undo-log
refused '' -R all --force=perhaps vm.qcow2
refused 'goes with -m' -R all -O 0 vm.qcow2
for arguments in "-R all -A 1" "-R all -D 1" "-R all -M corrupt" "-m edit -R all" "-m copy -R all" "-m rebase -R all" \
  "-A 1 -D 1" "-E 0 -C dirty"; do
  # shellcheck disable=SC2086
  refused ' and -. exclude each other' $arguments vm.qcow2
done

# A script's empty variable is no name.
refused 'undo-log' -R all --undo-log '' vm.qcow2

same vm.qcow2 original
same log log.before
[[ -z $(comm -13 files <(ls)) ]] || fail "there are new files: $(comm -13 files <(ls))"

# The last one counts, as with all options.
code 4 -R all -R off vm.qcow2
same vm.qcow2 original
code 0 -R off -R all vm.qcow2
