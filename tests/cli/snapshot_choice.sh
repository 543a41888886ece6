#!/usr/bin/env bash
# -s: an exact ID goes before a name; what names nothing is an error, never "all" or "snapshot 0".
source "$(dirname "$0")/lib.bash"

image vm.qcow2
snapshot vm.qcow2 2       # ID 1, name 2
snapshot vm.qcow2 second  # ID 2
code 0 -m dump -s active vm.qcow2
says out '^Active Snapshot:'
says_not out '^snapshot\[0\]:.*ID'
code 0 -m dump -s 'snapshot[0]' vm.qcow2
says out '^snapshot\[0\]:.*NAME: 2'
says_not out '^snapshot\[1\]:'
code 0 -m dump -s 2 vm.qcow2
says out '^snapshot\[1\]:.*NAME: second'
says_not out '^snapshot\[0\]:'
code 0 -m dump -s second vm.qcow2
says out '^snapshot\[1\]:.*NAME: second'
code 0 -m dump -s inactive vm.qcow2
[[ $(grep -c '^l1 table\[' out) == 2 ]] || fail "the tables of two snapshots are wanted"

for unknown in nothing 'snapshot[2]' 'snapshot[-1]' 'snapshot[]' 3 ''; do
  code 234 -m dump -s "$unknown" vm.qcow2
  [[ -s err && ! -s out ]] || fail "'$unknown': a sentence on stderr and nothing else is wanted"
done
