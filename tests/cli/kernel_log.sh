#!/usr/bin/env bash
# -K: the summary goes to the kernel log where that is allowed; where it isn't, a warning and the code as without.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
damage vm.qcow2 refcount-leak
code 1 vm.qcow2
cp out without
code 1 -K vm.qcow2
cmp out without
if [[ -s err ]]; then
  says err 'warning: .*kernel log'
  [[ $(wc -l <err) == 1 ]] || fail "one line of warning is wanted"
fi
