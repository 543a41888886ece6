#!/usr/bin/env bash
# -h: three groups within 80 columns, no option forgotten, and each of them known to the command.
source "$(dirname "$0")/lib.bash"

code 0 -h
[[ ! -s err ]] || fail "help belongs to stdout"
cp out help
code 0 --help
cmp -s out help
says help '^SAFE'
says help '^DANGEROUS'
says help '^EXAMPLES'
! awk 'length > 80' help | grep . || fail "lines of more than 80 columns"

for option in -h --help -v --version -H --header -m --mode -o --output -s --snapshot -f --flags -R --repair \
  -A --apply --keep-as -D --delete -E --exclude -M --mark -C --clean -O --offset -S --src -V --value -w --width -L \
  --length -F --file -b --base -c --compress -l --lock -N --nocache -K --dmesg -d --display --json --dry-run \
  --undo-log --no-undo --force -j --jobs --cluster-size --stats --explain \
  --progress; do
  grep -qE -- "(^|[ (,])$option([ ,;:.)]|\$)" help || fail "help doesn't mention $option"
  got=0
  "$QCOW2_DUMP" "$option" >out 2>err </dev/null || got=$?
  says_not err 'not expected'
done
for mode in info check error dump edit copy rebase undo; do
  grep -qwE -- "$mode" help || fail "help doesn't mention mode $mode"
done
