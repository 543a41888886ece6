#!/usr/bin/env bash
# Reading never writes: neither a byte nor a time of the file changes, whatever is asked.
source "$(dirname "$0")/lib.bash"

image healthy.qcow2
cp healthy.qcow2 damaged.qcow2
damage damaged.qcow2 l2-dup
qemu-img create -q -f qcow2 -b healthy.qcow2 -F qcow2 overlay.qcow2
qemu-img create -q -f qcow2 -o data_file=data.raw external.qcow2 16M
qemu-io -c 'write 0 1M' external.qcow2 >/dev/null
touch -d '2001-02-03 04:05:06' -- *

state() { stat -c '%n %s %Y %Z %i %a' -- *.qcow2 data.raw && sha256sum -- *.qcow2 data.raw; }
touch before after out err files
ls >files
state >before
for options in "-m info" "-m check" "-m error" "-m dump" "-m dump -f -s active -o snapshot" "-H" "--json" "-l" "-N" \
  "-c" "-b" "-R off" "-R check" "-K" "--progress on" "-R all --dry-run" \
  "-m edit -O header.size -V 0 --force --dry-run" "-A 1 --dry-run" "-D all --dry-run" "-E 0 --dry-run" \
  "-M corrupt --dry-run" "-C dirty --force --dry-run" "-m rebase -F other --dry-run" "-m copy -O 0 -S 512 -w 512 --dry-run"; do
  # shellcheck disable=SC2086
  "$QCOW2_DUMP" $options -- *.qcow2 >/dev/null 2>&1 </dev/null || true
done
state >after
diff before after || fail "something was written"
new=$(comm -13 files <(ls))
[[ -z $new ]] || fail "there are new files: $new"
