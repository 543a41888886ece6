#!/usr/bin/env bash
# A repair on a file system that is full or read-only, and of a file that nobody may change: the image stays as it was to
# the byte, the exit code says why, and so does a sentence.
source "$(dirname "$0")/lib.bash"

broken original -o cluster_size=4k
original=original target=vm.qcow2

((EUID == 0)) || exit 77
mkdir mounted
mount -t tmpfs -o size=2m none mounted 2>err || exit 77
trap 'umount -l "$folder/mounted" || true; rm -rf "$folder"' EXIT

# No room for the log: a file fills the rest.
cp -p original vm.qcow2
cp -p original mounted/vm.qcow2
dd if=/dev/zero of=mounted/full bs=1k status=none 2>/dev/null || true
cannot 228 'No space left.*nothing was changed .--undo-log FILE' -R all --undo-log mounted/log vm.qcow2
[[ ! -e mounted/log ]] || fail "a useless log is left"
target=mounted/vm.qcow2
cannot 228 'No space left.*nothing was changed .--undo-log FILE' -R all mounted/vm.qcow2

# Room for the log, but none for what is to be written.
cannot 228 'vm\.qcow2.*No space left.*(taken back to what it was|nothing was changed)' -R all --undo-log log mounted/vm.qcow2
[[ ! -e log ]] || fail "a useless log is left"
rm mounted/full
code 0 -R all --undo-log log mounted/vm.qcow2
undone mounted/vm.qcow2 log original

# Nothing can be written at all.
mount -o remount,ro mounted
cannot 226 'mounted/vm\.qcow2.*Read-only file system' -R all mounted/vm.qcow2
target=vm.qcow2
cannot 226 'no undo log.*Read-only file system.*nothing was changed' -R all --undo-log mounted/log vm.qcow2
code 4 -R all --dry-run mounted/vm.qcow2

# Not by root either.
if chattr +i vm.qcow2 2>/dev/null; then
  cannot 255 'vm\.qcow2.*not permitted.*immutable' -R all vm.qcow2
  chattr -i vm.qcow2
fi
