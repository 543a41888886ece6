#!/usr/bin/env bash
# A file that isn't there: 254, and the sentence names it.
source "$(dirname "$0")/lib.bash"

code 254 nowhere/vm.qcow2
says err 'nowhere/vm\.qcow2.*No such file'
[[ ! -s out ]] || fail "something was printed"
code 254 -m dump nowhere.qcow2
code 254 -l nowhere.qcow2
code 254 -H nowhere.qcow2
