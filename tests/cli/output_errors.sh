#!/usr/bin/env bash
# A reader who goes away is no error worth a word; a full disk is.
source "$(dirname "$0")/lib.bash"

image vm.qcow2 -o cluster_size=512
qemu-io -c 'write 0 40M' vm.qcow2 >/dev/null  # some megabytes of text
set +o pipefail
{ "$QCOW2_DUMP" -m dump vm.qcow2 2>err || echo $? >status; } | head -n 1 >first
[[ -s first && ! -s err ]] || fail "a broken pipe made noise"
[[ $(cat status) == 224 ]] || fail "exit code $(cat status), not 224, for a broken pipe"

for mode in check dump; do
  got=0
  "$QCOW2_DUMP" -m $mode vm.qcow2 >/dev/full 2>err || got=$?
  ((got == 228)) || fail "exit code $got, not 228, for a full disk"
  says err 'No space left'
done

# Without standard descriptors the image must not take their place.
sha256sum vm.qcow2 >before
got=0
"$QCOW2_DUMP" vm.qcow2 <&- >&- 2>&- || got=$?
((got == 247)) || fail "exit code $got, not 247, without stdout"
sha256sum --quiet -c before
