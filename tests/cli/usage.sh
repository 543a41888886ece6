#!/usr/bin/env bash
# Bad usage: 234, one sentence on stderr, nothing on stdout.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
refused() {
  code 234 "$@"
  [[ ! -s out && $(wc -l <err) == 1 ]] || fail "one sentence on stderr is wanted: $*"
  says err '^qcow2-dump: .'
}
refused
refused --nonsense vm.qcow2
refused -Z vm.qcow2
refused -m nonsense vm.qcow2
refused -m
refused -m dump
refused -o nonsense vm.qcow2
refused -R nonsense vm.qcow2
refused -d nonsense vm.qcow2
refused -M nonsense vm.qcow2
refused --progress nonsense vm.qcow2
for jobs in 0 -1 1.5 two '' 100000; do refused -j "$jobs" vm.qcow2; done
refused --cluster-size 3 vm.qcow2
refused --explain nonsense
refused -F backing.qcow2 vm.qcow2
refused -s nonsense vm.qcow2
