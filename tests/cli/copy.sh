#!/usr/bin/env bash
# -m copy: bytes of the image or of another file, of any length, also where source and target overlap; a source that ends
# too early is an error. With a donor's header or tables an image comes back.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/features.bash"

image=case/image.qcow2 target=case/image.qcow2

# copied IMAGE ORIGINAL TO SOURCE FROM BYTES: to the byte.
copied() {
  python3 - "$@" <<'PY' || fail "$1 isn't $2 with $6 bytes of $4"
import sys
now, was, source = (open(name, "rb").read() for name in (sys.argv[1], sys.argv[2], sys.argv[4]))
to, start, size = (int(text, 0) for text in (sys.argv[3], sys.argv[5], sys.argv[6]))
was = was.ljust(to, b"\0")
sys.exit(now != was[:to] + source[start:start + size] + was[to + size:])
PY
}

# ---- within the image: odd lengths and places, overlaps both ways

case_of plain
original=made/plain/image.qcow2
for triple in '0x140000 0x50000 1' '0x140000 0x50000 65536' '0x130003 0x50001 70001' '0x100000 0x101000 200000' \
  '0x101000 0x100000 200000' '0x100001 0x100000 100000' '0x100000 0x100001 100000' '0x100000 0x100000 4096'; do
  read -r to from bytes <<<"$triple"
  "$QCOW2_DUMP" -m copy -O "$to" -S "$from" -w "$bytes" $image >out 2>err || fail "$(cat err)"
  copied $image "$original" "$to" "$original" "$from" "$bytes"
  if [[ -e $image.undo ]]; then taken_back $image "$original"; fi
  rm -f $image.undo*
done

# ---- from another file

head -c 300000 /dev/urandom >bytes
for triple in '0x60000 0 300000' '0x60001 7 299993' '0x60000 0x1000 1k'; do
  read -r to from bytes <<<"$triple"
  code 0 -m copy -O "$to" -S "$from" --length "$bytes" -F bytes $image
  one_line
  says line "copy 0x.* bytes from 0x[0-9a-f]+ of bytes"
  copied $image "$original" "$to" bytes "$from" "${bytes/1k/1024}"
  taken_back $image "$original"
  rm $image.undo
done
size=$(stat -c %s $image)
cp -p $image same.qcow2
ln case/image.qcow2 link.qcow2  # the image by another name
code 0 -m copy -O 0x100000 -S 0x101000 -w 200000 -F link.qcow2 $image
copied $image "$original" 0x100000 "$original" 0x101000 200000
cp -p "$original" $image
rm -f $image.undo* link.qcow2

# So is a device by its own name.
truncate -s 8M disk
if device=$(losetup -f --show disk 2>/dev/null); then
  trap 'losetup -d "$device"; rm -rf "$folder"' EXIT
  dd if="$original" of="$device" conv=notrunc status=none
  dd if=bytes of="$device" seek=8 bs=512K conv=notrunc status=none
  cat "$device" >was
  for arguments in "-F $device" ''; do
    # shellcheck disable=SC2086
    code 0 -m copy -O 0x400800 -S 0x400000 -w 3M $arguments --no-undo "$device"
    says out 'of the image itself'
    cat "$device" >now
    copied now was 0x400800 was 0x400000 3145728
    dd if=was of="$device" status=none
  done
fi

# The file grows by what is put at its end, but not beyond.
code 0 -m copy -O "$size" -S 0 -w 300000 -F bytes $image
copied $image "$original" "$size" bytes 0 300000
taken_back $image "$original"
rm $image.undo
cannot 255 'lies past the end of the file' -m copy -O $((size + 1)) -S 0 -w 512 -F bytes $image
code 0 -m copy --force --no-undo -O $((size + 65536)) -S 0 -w 512 -F bytes $image
copied $image "$original" $((size + 65536)) bytes 0 512
cp -p "$original" $image

# ---- a source that is too short, or isn't there

cannot 234 'bytes ends at 0x493e0: there are no 300001 bytes at 0x0; nothing was changed' -m copy -O 0x60000 -S 0 -w 300001 -F bytes $image
cannot 234 'ends at 0x493e0: there are no 1 bytes at 0x493e0' -m copy -O 0x60000 -S 300000 -w 1 -F bytes $image
cannot 234 'the image itself|image\.qcow2 ends at' -m copy -O 0x60000 -S $((size - 10)) -w 11 $image
cannot 234 'ends at' -m copy -O 0 -S 0xffffffffffffffff -w 0xffffffffffffffff $image
cannot 254 'missing.*No such file' -m copy -O 0x60000 -S 0 -w 1 -F missing $image
cannot 235 '' -m copy -O 0x60000 -S 0 -w 1 -F made $image
for width in 0 '' -5 x; do code 234 -m copy -O 0 -S 0 "--width=$width" $image; done
cannot 255 'the header would make no sense any more.*--force' -m copy -O 0 -S 0 -w 512 -F bytes $image

# ---- a donor's header, and a donor's tables

for kind in "${all_kinds[@]}"; do
  case_of "$kind"
  original=made/$kind/image.qcow2
  cp -p $image donor.qcow2
  bytes=$([[ $kind == 512 ]] && echo 512 || echo 4096)
  dd if=/dev/zero of=$image bs="$bytes" count=1 conv=notrunc status=none
  cp -p $image ruined
  code 6 $image
  code 0 -m copy -O 0 -S 0 -w "$bytes" -F donor.qcow2 $image
  same $image "$original"
  taken_back $image ruined
  cp -p "$original" $image
  rm $image.undo

  # Names are those of the file they are looked for in.
  edit $image 'image.write(image["l1_table_offset"], b"\x01" * 8)'
  cp -p $image ruined
  code 6 $image
  code 0 -m copy -O 'l1[0]' -S 'l1[0]' -w 8 -F donor.qcow2 $image
  same $image "$original"
  taken_back $image ruined
done

# ---- no room, another writer

case_of plain
original=made/plain/image.qcow2
no_log -m copy -O 0x60000 -S 0 -w 300000 -F bytes $image
no_room -m copy -O "$size" -S 0 -w 300000 -F bytes $image
rm -f $image.undo*
hold $image
code 245 -m copy -O 0x60000 -S 0 -w 512 -F bytes $image
let_go
