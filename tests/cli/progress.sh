#!/usr/bin/env bash
# --progress: on stderr only; auto says nothing where stderr is no terminal.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
code 0 vm.qcow2
[[ ! -s err ]] || fail "progress without a terminal"
cp out without
code 0 --progress off vm.qcow2
[[ ! -s err ]] || fail "progress despite off"
code 0 --progress on vm.qcow2
says err '^checking: [0-9.]+ [KMG]iB read, [0-9.]+ [KMGT]iB/s'
cmp out without || fail "progress changed the output"
code 0 --progress on -m dump vm.qcow2
says err '^dumping: [0-9.]+ [KMG]iB read'
