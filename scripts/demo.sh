#!/usr/bin/env bash
# demo.sh PROGRAM: makes a real image, checks it, damages it in two ways, and shows what PROGRAM says and does.
set -euo pipefail

program=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

if [[ -t 1 && -z ${NO_COLOR-} ]]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
title() { printf '\n%s== %s ==%s\n\n' "$bold" "$*" "$plain"; }

show() {
  local status=0
  printf '%s$ qcow2-dump %s%s\n' "$bold" "$*" "$plain"
  "$program" "$@" || status=$?
  printf '(exit code %d)\n' "$status"
}

# read_offset FILE PLACE: the offset in the table entry there, without its flags.
read_offset() { echo $((0x$(od -An -tx8 --endian=big -j "$2" -N 8 "$1" | tr -d ' ') & 0x00fffffffffffe00)); }

# write_hex FILE PLACE DIGITS
write_hex() { printf '%b' "$(sed 's/../\\x&/g' <<<"$3")" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

cluster=65536
written_at=$((48 << 20))  # where the guest writes last, in the first L2 table

make_image() {
  PATH=$PATH:/sbin:/usr/sbin mke2fs -q -t ext4 -L demo -d /usr/include/c++ disk.raw 64M >/dev/null
  qemu-img convert -c -f raw -O qcow2 disk.raw disk.qcow2
  qemu-img snapshot -c installed disk.qcow2
  qemu-io -c "write -P 0x11 40M 4M" disk.qcow2 >/dev/null
  qemu-img snapshot -c configured disk.qcow2
  qemu-io -c "write -P 0x22 $written_at 4M" -c "write -z 56M 1M" disk.qcow2 >/dev/null
  rm disk.raw
}

title "A disk with a file system: compressed clusters, two snapshots, newer writes"
make_image
show -m info disk.qcow2
show disk.qcow2

l1=$(read_offset disk.qcow2 40)
l2=$(read_offset disk.qcow2 "$l1")
entry=$((l2 + written_at / cluster * 8))
data=$(read_offset disk.qcow2 "$entry")
refcount_table=$(read_offset disk.qcow2 48)
refcount_block=$(read_offset disk.qcow2 "$refcount_table")

title "Damage 1: the host lost power, and a reference count never reached the disk"
cp disk.qcow2 lost-refcount.qcow2
write_hex lost-refcount.qcow2 $((refcount_block + data / cluster * 2)) 0000
show -m error lost-refcount.qcow2

title "Damage 2: a stray write hit an L2 table, and an entry points past the end of the file"
cp disk.qcow2 wild-entry.qcow2
write_hex wild-entry.qcow2 "$entry" 8000007000000000
show -m error wild-entry.qcow2

title "Damage 1 repaired, and the way back"
sum=$(sha256sum <lost-refcount.qcow2)
show -R all lost-refcount.qcow2 | sed '/^File:/,/^Summary:/d'
show -m undo -F lost-refcount.qcow2.undo lost-refcount.qcow2
[[ $(sha256sum <lost-refcount.qcow2) == "$sum" ]] && echo "The same bytes as before the repair."

title "That was it. Now your own: scripts/run.sh IMAGE, or scripts/run.sh --help"
