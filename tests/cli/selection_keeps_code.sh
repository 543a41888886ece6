#!/usr/bin/env bash
# -o and -s choose what is printed; the verdict and the exit code stay.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
snapshot vm.qcow2 first
cp vm.qcow2 leaky.qcow2
damage leaky.qcow2 refcount-leak
cp vm.qcow2 broken.qcow2
damage broken.qcow2 l2-unaligned
for output in refcount snapshot all; do
  for tables in active inactive all first 'snapshot[0]'; do
    for mode in check error dump; do
      code 0 -m $mode -o $output -s "$tables" vm.qcow2
      code 1 -m $mode -o $output -s "$tables" leaky.qcow2
      says out '^LEAK'
      code 6 -m $mode -o $output -s "$tables" broken.qcow2
      says out '^CORRUPT'
    done
  done
done
