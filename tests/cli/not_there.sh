#!/usr/bin/env bash
# What isn't built isn't there: no option is spelled, no mode named, and no advice answers that it will come.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
damage vm.qcow2 refcount-leak
sha256sum vm.qcow2 >before
"$QCOW2_DUMP" -h >help
for options in "-R recover" "-m export" "-m map" "-m browse" "--size 1G" "--refcount-bits 16" "--l1-offset 1" \
  "--donor-header f" "--place L2=3" "--metrics file" "--follow"; do
  # shellcheck disable=SC2086
  code 234 $options vm.qcow2
  [[ ! -s out && $(wc -l <err) == 1 ]] || fail "one sentence on stderr is wanted: $options"
  says_not help "(^|[ ,])${options#-? }([ ,;]|\$)"
done
code 234 -m map vm.qcow2
says err "'map' is unknown; choose from: info, check, error, dump, edit, copy, rebase, undo; qcow2-dump -h"
sha256sum --quiet -c before
code 1 -R off vm.qcow2
says_not out '^Repair: '
code 1 -R check vm.qcow2
says out '^Repair:  qcow2-dump -R '
