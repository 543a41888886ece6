#!/usr/bin/env bash
# -A: the guest reads what qemu-img snapshot -a gives it, in images of every kind. The old state can be kept. The image needs no repair afterwards, and the log takes it back.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/features.bash"

image=case/image.qcow2 target=case/image.qcow2

turn=0
for kind in "${with_snapshots[@]}"; do
  case_of "$kind"
  original=made/$kind/image.qcow2
  before=$(reads "$kind" "$original") sizes=$(snapshots "$original")
  declare -A was=([first]=$(reads "$kind" "$original" first) [second]=$(reads "$kind" "$original" second))
  # Where tables differ in shape or in size, both; else each kind has one of them here, and the first is kept and left below.
  states=(first second)
  [[ $kind =~ ^(plain|512|extended-l2|resized|vm-state)$ ]] || states=("${states[turn++ % 2]}")
  for state in "${states[@]}"; do
    # What QEMU makes of it. It refuses where there are bitmaps.
    expected=${was[$state]}
    if [[ $kind != bitmaps ]]; then
      qemu "$kind" $image snapshot -a "$state"
      expected=$(whole=1 reads "$kind" $image)
    fi
    listed=$(snapshots $image)

    cp -p "$original" $image
    code 0 -A "$state" $image
    says out "\"$state\"\) is made active"
    clean "$kind" $image
    [[ $(whole=1 reads "$kind" $image) == "$expected" ]] || fail "$kind: the guest reads something else than $state"
    [[ $(snapshots $image) == "$listed" ]] || fail "$kind: $(snapshots $image), not $listed"
    for other in first second; do
      [[ $(reads "$kind" $image $other) == "${was[$other]}" ]] || fail "$kind: snapshot $other is another"
    done
    taken_back $image "$original"
    rm $image.undo
  done

  # The old state becomes a third snapshot.
  code 0 -A 1 --keep-as 'the old one' $image
  clean "$kind" $image
  [[ $(reads "$kind" $image) == "${was[first]}" ]] || fail "$kind: the guest doesn't read the snapshot"
  [[ $(reads "$kind" $image 'the old one') == "$before" ]] || fail "$kind: the old state is another"
  [[ $kind != refcount-1 ]] || continue  # its clusters can't have two owners
  code 0 -A 'the old one' --no-undo $image
  clean "$kind" $image
  [[ $(reads "$kind" $image) == "$before" ]] || fail "$kind: there is no way back"
  [[ $(snapshots $image) == "${sizes%% *} "*"('3', 'the old one', 0)"* ]] || fail "$kind: $(snapshots $image)"
done

# QEMU goes on with what we have made: it can write, and its snapshots work.
case_of plain
code 0 -A first --keep-as old $image
qemu-io -c 'write -P 0x44 1M 3M' $image >/dev/null
qemu-img snapshot -d second $image
qemu-img snapshot -a old $image
clean plain $image
[[ $(reads plain $image) == $(reads plain made/plain/image.qcow2) ]] || fail "the old state didn't outlive QEMU's writes"

# A kill at whatever write, and no log: what a guest writes then goes to no snapshot.
case_of plain
code 0 -A first --keep-as kept --no-undo $image
cp $image before.qcow2
was=$(reads plain before.qcow2 kept)
for ((write = 1; write <= 12; ++write)); do
  cp before.qcow2 $image
  python3 "$here/../tools/stop_at.py" KILL "$write" $image "$QCOW2_DUMP" -A kept --no-undo $image >/dev/null 2>&1 || true
  qemu-io -f qcow2 -c 'write -q -P 77 0 4k' -c 'write -q -P 77 300k 4k' $image
  [[ $(reads plain $image kept) == "$was" ]] || fail "killed at write $write, the guest writes to a snapshot"
done

# ---- bitmaps: they say that all has changed, so that the next backup misses nothing

of_kind bitmaps
case_of bitmaps
code 0 -A first $image
says out 'bitmap "daily" says that all of the disk has changed'
edit $image '
for b in image.bitmaps():
    table = image.table(b.table_offset, b.table_size)
    assert table and all(entry == 1 for entry in table), (b.name, table)'

# ---- what can't be done

case_of plain
original=made/plain/image.qcow2
for wrong in third 3 'snapshot[2]' '' 0 -1 all FIRST; do
  cannot 234 'no snapshot is called.*snapshot\[0\] 1 \("first"\), snapshot\[1\] 2 \("second"\)' -A "$wrong" $image
done
cannot 234 'there is a snapshot called "second" already' -A first --keep-as second $image
cannot 234 'there is a snapshot called "2" already' -A first --keep-as 2 $image
cannot 234 'a name of 1 to 255 bytes' -A first --keep-as '' $image
qemu-img snapshot -c first $image
cp -p $image two
original=two
cannot 234 'several snapshots are called "first": snapshot\[0\] 1 .*snapshot\[2\] 3 .*say which' -A first $image
code 0 -A 'snapshot[2]' --no-undo $image

case_of plain
edit $image 'image.put(image.snapshots()[0].l1_table_offset, 0x8000000000000200)'
cp -p $image damaged
original=damaged
cannot 255 'the tables of snapshot 1 \("first"\) are damaged.*--force' -A first $image
code 6 -A second $image  # the other one is still damaged

# A refcount of one bit can't count two owners.
case_of refcount-1
code 0 -A first --keep-as full --no-undo $image
cp -p $image one
original=one
cannot 222 'refcounts of 1 bit can.t count the references.*nothing was changed' -A full $image

# ---- no room, no permission to write, another writer

case_of 512
original=made/512/image.qcow2
no_room -A first $image
clean 512 $image
case_of plain
hold $image
code 245 -A first $image
let_go
