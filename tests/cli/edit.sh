#!/usr/bin/env bash
# -m edit: one value at a place that has a number or a name, in images of every kind; nothing but that changes. Old and
# new are told with what they mean. What would make the header unreadable is refused.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/features.bash"

image=case/image.qcow2 target=case/image.qcow2

# ---- every name, in images of every kind: where it is, and what is there

turn=0
for kind in "${all_kinds[@]}"; do
  case_of "$kind"
  original=made/$kind/image.qcow2
  # PLACE OFFSET BYTES OLD
  edit $image '
def tell(place, at, size): print(place, at, size, hex(image.get(at, size)))
table = next(place for index, place in image.l2_tables())
l1 = image["l1_table_offset"]
tell("l1[0]", l1, 8)
tell("l2[0,3]", image.l2_at(table, 3), 8)
if image.extended_l2: tell("l2[0,3].bitmap", image.l2_at(table, 3) + 8, 8)
tell("refcount_table[0]", image["refcount_table_offset"], 8)
tell("header.size", 24, 8)
tell("header.l1_size", 36, 4)
if image.version > 2: tell("header.autoclear_features", 88, 8)
if image.refcount_bits >= 8:
    tell("refcount[2]", (image.get(image["refcount_table_offset"]) & REFTABLE_MASK) + 2 * image.refcount_bits // 8, image.refcount_bits // 8)
for number, s in list(enumerate(image.snapshots()))[-1:]:
    tell(f"snapshot[{number}].l1_size", s.at + 8, 4)
    tell(f"snapshot[{number}].date_seconds", s.at + 16, 4)
    tell(f"snapshot[{number}].disk_size", s.at + 48, 8)
    tell(f"snapshot[{number}].l1[0]", s.l1_table_offset, 8)
    for index, place in image.l2_tables(number)[:1]: tell(f"snapshot[{number}].l2[0,3]", image.l2_at(place, 3), 8)
' >places
  mapfile -t places <places
  ((${#places[@]} >= 5)) || fail "$kind: $(<places)"
  # Where an entry or a refcount has another width, or L1 tables have other sizes, all of them; else each kind has its third.
  for number in "${!places[@]}"; do
    [[ $kind =~ ^(plain|512|extended-l2|refcount-64|resized)$ ]] || ((number % 3 == turn)) || continue
    read -r place at bytes old <<<"${places[number]}"
    printf -v new '0x%x' $((old ^ 2))
    "$QCOW2_DUMP" -m edit --force -O "$place" -V "$new" $image >out 2>err || true
    one_line
    name=${place//[/\\[} name=${name//./\\.}
    says line "edit 0x[0-9a-f]+ $name: .*; becomes .* 0*${old#0x} -> 0*${new#0x}"
    flipped $image "$original" $((at + bytes - 1)) 2
    taken_back $image "$original"
    rm $image.undo
    # The same place by its number.
    [[ $kind == plain || $kind == 512 ]] || continue
    "$QCOW2_DUMP" -m edit --force --no-undo -O "$at" -w "$bytes" -V "$new" $image >out 2>err || true
    flipped $image "$original" $((at + bytes - 1)) 2
    cp -p "$original" $image
  done
  turn=$(((turn + 1) % 3))
done

# A refcount of one bit is one bit of a byte.
case_of refcount-1
code 4 -m edit -O 'refcount[3]' -V 0 --no-undo $image
edit $image 'assert [image.refcount(c) for c in (2, 3, 4)] == [1, 0, 1]'
code 0 -m edit -O 'refcount[3]' -V 1 --no-undo $image
same $image made/refcount-1/image.qcow2

# ---- values and widths

case_of plain
original=made/plain/image.qcow2
for width in 1 2 4 8; do
  code 0 -m edit -O 0x13ff00 -w $width -V '~0' $image
  edit $image "assert image.read(0x13ff00, 9) == b'\xff' * $width + open('$original', 'rb').read()[0x13ff00 + $width:0x13ff09], $width"
  taken_back $image "$original"
  rm -f $image.undo*
done
code 0 -m edit -O 1310464 -V 18446744073709551615 --no-undo $image
edit $image 'assert image.read(1310464, 8) == b"\xff" * 8'
cp -p "$original" $image
for wrong in '' abc 0x -- 1.5 '~' '~~1' '0xfffffffffffffffff' 18446744073709551616 -1; do
  code 234 -m edit -O 0x13ff00 "--value=$wrong" $image
done
cannot 234 '-V 256: 8 bits hold no more than 0xff' -m edit -O 0x13ff00 -w 1 -V 256 $image
cannot 234 'header\.l1_size has 4 bytes; leave -w out' -m edit -O header.l1_size -w 8 -V 1 $image
code 234 -m edit -O 0x13ff00 -w 3 -V 1 $image
for place in nowhere header.nothing 'l1[' 'l1[x]' 'l2[0]' 'l1[0,0]' 'l1[0]x' 'snapshot[0]' 'snapshot[0].nothing' 'refcount' ''; do
  code 234 -m edit -O "$place" -V 1 $image
done
cannot 234 'there is no l1\[1\]: the L1 table has 1 entries' -m edit -O 'l1[1]' -V 0 $image
cannot 234 'an L2 table has 8192 entries' -m edit -O 'l2[0,8192]' -V 0 $image
cannot 234 '2 snapshots can be read' -m edit -O 'snapshot[2].name' -V x $image
cannot 234 'refcount table entry 1 leads to no block; -R error makes one' -m edit -O 'refcount[32768]' -V 1 $image
cannot 234 'no extended L2 entries' -m edit -O 'l2[0,0].bitmap' -V 1 $image
cannot 255 '0x10000000000 lies past the end of the file .*--force makes the file longer' -m edit -O 0x10000000000 -V 1 $image
size=$(stat -c %s $image)
code 0 -m edit --force -O $((size + 4096)) -V 1 -w 1 $image
[[ $(stat -c %s $image) == $((size + 4097)) ]] || fail "the file has $(stat -c %s $image) bytes"
taken_back $image "$original"
rm -f $image.undo*

# Who has made it worse is told the way back once more, at the end.
code 6 -m edit -O 'l1[0]' -V 7 $image
tail -2 out >end
says end 'Before this change the image was good. To take it back:'
says end "^  qcow2-dump -m undo -F $image.undo $image$"
code 6 --dry-run -m edit -O 'l1[0]' -V 15 $image
says_not out 'Before this change'
bash -c "$(sed -n '$s/qcow2-dump/"$QCOW2_DUMP"/p' end) --no-undo" >out
same $image "$original"
rm -f $image.undo*
code 0 -m edit -O 0x13ff00 -V 1 $image
says_not out 'Before this change'
taken_back $image "$original"
rm -f $image.undo*
# Only what the change itself has made worse, not what -c finds besides.
case_of compressed
edit $image 'at = image.entries("compressed")[0].host; image.write(at, b"\xff" * 64)'
code 6 -c -M dirty $image
says out 'compressed.payload'
says_not out 'Before this change'
case_of plain

# Bit 0 means zeros, but not everywhere.
for kind in v2 extended-l2; do
  case_of $kind
  code 6 -m edit -O 'l2[0,3]' -V 0x8000000000050001 $image
  one_line
  says line 'becomes .* at 0x50000, COPIED, reserved bits 0x1 '
done
case_of 512
code 6 -m edit -O 'l2[0,3]' -V 0x5100000000000000 $image
one_line
says line 'becomes compressed data at 0x1100000000000000, 512 bytes at most, past 2\^56 '
case_of plain

# ---- what makes the header unreadable

for edit in 'header.magic 0' 'header.version 4' 'header.cluster_bits 30' 'header.l1_table_offset 0x123' 'header.l1_size 0' \
  'header.refcount_table_offset ~0' 'header.incompatible_features ~0' 'header.refcount_order 9' 'header.header_length 8' \
  '0 0' '0x14 0'; do
  read -r place value <<<"$edit"
  cannot 255 'the header would make no sense any more: .*--force writes it all the same; nothing was changed' -m edit -O "$place" -V "$value" $image
done
code 6 -m edit --force -O header.magic -V 0 $image
says out 'lossy edit'
# Whoever mends a ruined header isn't kept from it.
code 0 -m edit -O header.magic -V 0x514649fb $image
same $image "$original"
rm -f $image.undo*

# ---- names of snapshots, of any length

for kind in plain v2 512 luks; do
  case_of "$kind"
  original=made/$kind/image.qcow2
  was=$(reads "$kind" "$original" first)
  for name in x 'a much longer name than it had before, with "quotes" in it' second.; do
    code 0 -m edit -O 'snapshot[0].name' -V "$name" $image
    clean "$kind" $image
    listed=$(snapshots $image)
    [[ $listed == *"[('1', '${name//\"/\\\'}', "* ]] || fail "the name is another: $listed"
    [[ $(reads "$kind" $image "$name") == "$was" ]] || fail "$kind: the snapshot is another"
    taken_back $image "$original"
    rm $image.undo
  done
  cannot 234 'snapshot 2 \("second"\) has that name already' -m edit -O 'snapshot[0].name' -V second $image
  cannot 234 'has that ID already' -m edit -O 'snapshot[0].id' -V 2 $image
  code 0 -m edit -O 'snapshot[0].id' -V 77 $image
  [[ $(snapshots $image) == *"('77', 'first'"* ]] || fail "$(snapshots $image)"
  clean "$kind" $image
done

# What nobody knows may not fit the new table.
case_of plain
damage $image autoclear-bit=5
code 0 -m edit -O 'snapshot[0].name' -V renamed $image
edit $image 'assert image["autoclear_features"] == 0'

# ---- the known manual rescue: three entries of garbage between good neighbours, which tell what they were

case_of plain
rm -f case/image.qcow2
qemu-img create -q -f qcow2 $image 64M
qemu-io -f qcow2 -c 'write -q -P 0x55 0 4M' $image
cp -p $image original
original=original
for index in 20 21 22; do edit $image "image.put(image.l2_at(image.l2_tables()[0][1], $index), 0x7b920e00dead0000 + $index)"; done
code 6 -m dump -f -o snapshot $image
before=$(sed -nE 's/.*l2 table\[ *19\], data offset: (0x[0-9a-f]+) .*/\1/p' out)
after=$(sed -nE 's/.*l2 table\[ *23\], data offset: (0x[0-9a-f]+) .*/\1/p' out)
((after - before == 4 * 65536)) || fail "the neighbours are $before and $after"
for i in 1 2 3; do
  state=$((i < 3 ? 6 : 0))
  code $state -m edit -O "l2[0,$((19 + i))]" -V "$(printf '0x%x' $(((1 << 63) | before + i * 65536)))" $image
  one_line
  says line "l2\[0,$((19 + i))\]: .*; becomes data at $(printf '0x%x' $((before + i * 65536))), COPIED"
done
clean plain $image
same $image original

# ---- no room for the log, another writer

case_of plain
original=made/plain/image.qcow2
no_log -m edit -O 0x13ff00 -V 1 $image
hold $image
code 245 -m edit -O 0x13ff00 -V 1 $image
let_go
