#!/usr/bin/env bash
# -o and -s choose the tables that a dump shows.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
snapshot vm.qcow2 first
code 0 -m dump -o snapshot vm.qcow2
says_not out $'^(refcount table|\trefcount block)'
[[ $(grep -c '^l1 table\[' out) == 2 ]] || fail "two L1 tables are wanted"
code 0 -m dump -o refcount vm.qcow2
says out $'^\trefcount block'
says_not out $'^(l1 table|\tl2 table)'
code 0 -m dump -o snapshot -s active vm.qcow2
[[ $(grep -c '^l1 table\[' out) == 1 ]] || fail "one L1 table is wanted"
