#!/usr/bin/env bash
# What belongs to a later version is spelled right, but isn't there yet: 218, one sentence, and the image stays as it is.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
snapshot vm.qcow2 first
damage vm.qcow2 refcount-leak
sha256sum vm.qcow2 >before
for options in "-R recover" "-m export" "-m map" "-m browse" "--size 1G" "--place L2=3" \
  "--metrics file" "--follow"; do
  # shellcheck disable=SC2086
  code 218 $options vm.qcow2
  says err "isn't built into this version: nothing was written"
  [[ ! -s out && $(wc -l <err) == 1 ]] || fail "one sentence on stderr is wanted: $options"
done
sha256sum --quiet -c before
code 1 -R off vm.qcow2
says_not out '^Repair: '
code 1 -R check vm.qcow2
says out '^Repair:  qcow2-dump -R '
