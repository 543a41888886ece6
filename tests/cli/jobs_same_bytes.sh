#!/usr/bin/env bash
# The same bytes for any number of threads, in every mode.
source "$(dirname "$0")/lib.bash"

image healthy.qcow2 -o cluster_size=4k
snapshot healthy.qcow2 first
qemu-io -c 'write 8M 4M' -c 'write -z 20M 1M' -c 'write 50M 3M' healthy.qcow2 >/dev/null
snapshot healthy.qcow2 second
cp healthy.qcow2 damaged.qcow2
for what in l2-dup l2-unaligned l1-entry-garbage refcount-zero=50 refcount-leak=40 l2-table-garbage \
  snapshot-l2-unaligned; do
  damage damaged.qcow2 $what
done
for file in healthy.qcow2 damaged.qcow2; do
  for options in "-m info" "-m check" "-m error" "-m dump" "-m dump -f" "--json -m error" "-c"; do
    # shellcheck disable=SC2086
    for jobs in 1 2 7; do "$QCOW2_DUMP" $options -j $jobs $file >out.$jobs 2>&1 || echo "code $?" >>out.$jobs; done
    cmp out.1 out.2 && cmp out.1 out.7 || fail "$options $file: output depends on the number of threads"
    [[ -s out.1 ]] || fail "$options $file: no output"
  done
done
