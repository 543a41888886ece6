#!/usr/bin/env bash
# The man page says what this version says of itself: scripts/man.sh BINARY >docs/qcow2-dump.1
source "$(dirname "$0")/lib.bash"
root=$here/../..
bash "$root/scripts/man.sh" "$QCOW2_DUMP" >page
diff page "$root/docs/qcow2-dump.1" >out || fail "docs/qcow2-dump.1 is out of date"
for option in --repair --undo-log --json --explain; do
  grep -qF -- "${option//-/\\-}" page || fail "no $option"
done
