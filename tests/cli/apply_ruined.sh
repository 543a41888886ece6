#!/usr/bin/env bash
# -A where the active tables are ruined: the guest reads the snapshot, the other snapshot is as it was, and nothing is left
# to repair. What goes is said; and what other damage may hide isn't freed.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/features.bash"

image=case/image.qcow2
declare -A was

for kind in plain 512 v2 extended-l2 compressed; do
  of_kind "$kind"
  original=made/$kind/image.qcow2
  was=([first]=$(reads "$kind" "$original" first) [second]=$(reads "$kind" "$original" second))
  for what in l1-zeroed l1-garbage l1-entry-garbage l1-entry-zeroed l1-past-end l1-unaligned l1-offset-past-end l1-size=0 \
    l1-on-metadata=reftable l2-table-garbage l2-table-zeroed l2-past-end l2-unaligned l2-dup l2-dup-matching \
    data-on-metadata=reftable l2-copied-flip=3 corrupt-bit refcount-leak=20 refcount-zero=5; do
    [[ $kind != v2 || $what != corrupt-bit ]] || continue    # it has none
    [[ $kind != 512 || $what != *unaligned ]] || continue      # no entry can tell less than 512 bytes
    case_of "$kind"
    damage $image "$what"
    cp $image damaged
    code 0 -A second $image
    clean "$kind" $image
    [[ $(reads "$kind" $image) == "${was[second]}" ]] || fail "$kind, $what: not the snapshot"
    [[ $(reads "$kind" $image first) == "${was[first]}" ]] || fail "$kind, $what: not the other"
    taken_back $image damaged
  done
done

# What is lost by it stands in the plan. Kept it can't be.
case_of plain
damage $image l2-table-garbage
cp $image damaged
code 6 $image
says out "^Run:     qcow2-dump -A 'snapshot\[1\]' --dry-run $image$"
code 6 -A 'snapshot[1]' --dry-run $image
same $image damaged
tr -s '\n ' ' ' <out >line
says line 'lossy apply .*the present tables are damaged; what they map, .* becomes unreachable'
original=damaged target=$image
touch -r $image damaged
cannot 255 'present tables are damaged.*nothing was changed' -A second --keep-as old $image

# ---- leaks that may be somebody else's stay, and that is said; --force frees them

# keeps WHAT ARGUMENT…: the leaks are there afterwards.
keeps() {
  local what=$1
  shift
  cp $image damaged
  code 1 "$@" $image
  says out 'refcount.leak: [0-9]+ leaked clusters are not freed'
  code 1 --json $image
  json 'd["totals"]["leaks"] >= 4'
  taken_back $image damaged
  rm $image.undo
}

case_of plain
edit $image 'image.write(image.l2_tables(0)[0][1], bytes(65536))'
keeps "the applied snapshot's own data" -A first
code 0 -A first --force $image
says out 'lossy'
case_of plain
edit $image 'image.put(image.snapshots()[1].l1_table_offset, 0)'
keeps "another snapshot's data" -A first
case_of plain
edit $image 'image.put(image.l1_at(0), 0)'
keeps "the state that is kept" -A first --keep-as kept
case_of plain
edit $image 'image["nb_snapshots"] = 1; image.put(image.l2_at(image.l2_tables()[0][1], 3), 0x33)'
keeps "a lost snapshot's data" -A first

# So do those that an entry of the snapshot should have named, whoever is blamed for what it names.
shared='
tables = dict(image.l2_tables())
shared = [table for index, table in image.l2_tables(0) if tables.get(index) == table]
places = [image.l2_at(table, i) for table in shared for i in range(image.l2_entries)]
data = [place for place in places if image.kind(image.get(place)) == "normal"]
assert len(data) > 6'
shared() {
  rm -f $image*
  qemu-img create -q -f qcow2 -o cluster_size=512 $image 4M
  qemu-io -f qcow2 -c 'write -q 0 1M' $image
  qemu-img snapshot -c first $image
  qemu-io -f qcow2 -c 'write -q 512k 1M' $image
}
shared
edit $image "$shared"'
for place, table in zip(data[:6], set(tables.values()) - set(shared)): image.put(place, table)'
keeps "what the applied snapshot should name" -A first
shared
edit $image "$shared"'
image.put(data[0], image["refcount_table_offset"])'
cp -p $image damaged
original=damaged target=$image
cannot 255 'tables of snapshot 1 \("first"\) are damaged.*--force makes them active as they are' -A first $image
rm -f $image.undo*
code 1 -A first --force $image
says out 'refcount.leak: 1 leaked cluster is not freed: other damage'
taken_back $image damaged

# Damage that isn't the active tables' may hide whose leaks are; they stay.
case_of plain
damage $image refcount-leak=20
edit $image 'image.put(image.snapshots()[0].l1_table_offset, image.length + (1 << 20))'
code 6 -A second $image
says out 'refcount.leak: [0-9]+ leaked clusters are not freed: other damage'
code 6 --json $image
json 'd["totals"]["leaks"] >= 20'
