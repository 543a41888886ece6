#!/usr/bin/env bash
# -A where the active tables are ruined: the guest reads the snapshot, the other snapshot is as it was, and nothing is left
# to repair. What goes is said; and what other damage may hide isn't freed.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/features.bash"

image=case/image.qcow2
declare -A was

# damaged IMAGE NAME[=ARG]...: a copy of it for each of these damages, called so, in the folder damaged.
damaged() {
  python3 - "$@" <<'PY'
import os, shutil, sys
import damages
damages.load_all()
os.makedirs("damaged", exist_ok=True)
for name in sys.argv[2:]:
    shutil.copy(sys.argv[1], f"damaged/{name}")
    damages.apply(f"damaged/{name}", name, "0")
PY
}

ruins=(l1-zeroed l1-garbage l1-entry-garbage l1-entry-zeroed l1-past-end l1-unaligned l1-offset-past-end l1-size=0
  l1-on-metadata=reftable l2-table-garbage l2-table-zeroed l2-past-end l2-unaligned l2-dup l2-dup-matching
  data-on-metadata=reftable l2-copied-flip=3 corrupt-bit refcount-leak=20 refcount-zero=5)
# All of them where tables are of ordinary size, and where they are smallest; in a brief run they are shared out there, too.
all_ruins='^(plain|512)$' turn=0
[[ ! -v BRIEF ]] || all_ruins='^plain$'
for kind in plain 512 v2 extended-l2 compressed; do
  chosen=()
  for i in "${!ruins[@]}"; do
    what=${ruins[i]}
    [[ $kind != v2 || $what != corrupt-bit ]] || continue    # it has none
    [[ $kind != 512 || $what != *unaligned ]] || continue      # no entry can tell less than 512 bytes
    # The other kinds take a third each, together all.
    [[ $kind =~ $all_ruins ]] || ((i % 3 == turn % 3)) || continue
    chosen+=("$what")
  done
  [[ $kind =~ $all_ruins ]] || turn=$((turn + 1))
  case_of "$kind"
  original=made/$kind/image.qcow2
  was=([first]=$(reads "$kind" "$original" first) [second]=$(reads "$kind" "$original" second))
  damaged "$original" "${chosen[@]}"
  for what in "${chosen[@]}"; do
    cp "damaged/$what" $image
    code 0 -A second $image
    clean "$kind" $image
    [[ $(reads "$kind" $image) == "${was[second]}" ]] || fail "$kind, $what: not the snapshot"
    [[ $(reads "$kind" $image first) == "${was[first]}" ]] || fail "$kind, $what: not the other"
    taken_back $image "damaged/$what"
    rm $image.undo
  done
done
rm -r damaged

# What is lost by it stands in the plan. Kept it can't be.
case_of plain
damage $image l2-table-garbage
cp $image damaged
code 6 $image
says out "^Run:     qcow2-dump -A 'snapshot\[1\]' $image$"
code 6 -A 'snapshot[1]' --dry-run $image
same $image damaged
one_line
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
  leaky "$@" $image
  says out 'refcount.leak: [0-9]+ leaked clusters are not freed'
  leaky --json $image
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
# refuses PATTERN: to make it active.
refuses() {
  cp -p $image damaged
  rm -f $image.undo*
  original=damaged target=$image
  cannot 255 "$1" -A first $image
}
shared
edit $image "$shared"'
for place, table in zip(data[:6], set(tables.values()) - set(shared)): image.put(place, table)'
refuses 'tables of snapshot 1 \("first"\) name clusters that are others.*--force makes them active as they are'
keeps "what the applied snapshot should name" -A first --force
shared
edit $image "$shared"'
image.put(data[0], image["refcount_table_offset"])'
refuses 'tables of snapshot 1 \("first"\) are damaged.*--force makes them active as they are'
leaky -A first --force $image
says out 'refcount.leak: 1 leaked cluster is not freed: entries that stay have'
taken_back $image damaged

# With tables of its own, the snapshot is as damaged where what it names is somebody's data; and so is another snapshot,
# that stays. It may name what a bitmap or the snapshot table has, too, which go.
own() {
  rm -f $image*
  cp own.qcow2 $image
}
qemu-img create -q -f qcow2 -o cluster_size=512 own.qcow2 4M
for ((k = 0; k < 256; ++k)); do echo "write -q -P $k $((k * 4))k 4k"; done >commands
qemu-io own.qcow2 <commands >/dev/null
qemu-img snapshot -c first own.qcow2
qemu-io -c 'write -q -P 44 512k 512k' own.qcow2
qemu-img snapshot -c second own.qcow2
qemu-img bitmap --add own.qcow2 daily
qemu-io -c 'write -q -P 33 512k 1M' own.qcow2
# garble COUNT FROM TO: so many entries of the first snapshot's, from a guest offset on, name what the active ones of
# another guest offset name. Or what there is at a host offset.
garble() {
  edit $image "
active, first = dict(image.l2_tables()), dict(image.l2_tables(0))
entry = lambda tables, at: image.l2_at(tables[at // 512 // 64], at // 512 % 64)
for i in range($1):
    mask, place = 0x00fffffffffffe00, entry(first, $2 + i * 512)
    other = $3 if '$3'.startswith('image') else image.get(entry(active, $3 + i * 512)) & mask
    image.put(place, image.get(place) & ~mask | other)"
}
for from in 600 800; do
  own
  garble 1 $((from * 1024)) $(((1400 - from) * 1024))
  code 4 $image
  says_not out 'Or go back'
  refuses '"first"\) (are damaged|name clusters that are others)'
  for count in 1 20; do
    own
    garble $count $((from * 1024)) $(((1400 - from) * 1024))
    cp $image damaged
    for state in 'first --force' second; do
      # shellcheck disable=SC2086
      leaky -A $state $image
      says out "refcount.leak: $count leaked clusters? (is|are) not freed"
      leaky --json $image
      json "d['totals']['leaks'] == $count"
      taken_back $image damaged
      rm $image.undo
    done
  done
done
for place in 'image.bitmaps()[0].table_offset' 'image["snapshots_offset"]'; do
  own
  garble 1 614400 "$place"
  leaky -A second --keep-as kept $image
  says out 'refcount.leak: 1 leaked cluster is not freed'
done

# The way back is offered where it leads somewhere, and nothing loses less.
case_of plain
edit $image 'image["l1_size"] = 0'
code 6 $image
says out "^Repair:  qcow2-dump -m edit -O header.l1_size -V 0x1 $image$"
says_not out 'qcow2-dump -A'
case_of plain
damage $image l2-table-garbage
edit $image 'image.put_snapshot_field(1, "disk_size", 0)'
code 6 $image
says out "^Run:     qcow2-dump -A 'snapshot\[0\]' $image$"
edit $image 'image["incompatible_features"] = 1 << 40'
code 6 $image
says_not out 'Or go back'

# Damage that isn't the active tables' may hide whose leaks are; they stay.
case_of plain
damage $image refcount-leak=20
edit $image 'image.put(image.snapshots()[0].l1_table_offset, image.length + (1 << 20))'
code 6 -A second $image
says out 'refcount.leak: [0-9]+ leaked clusters are not freed: other damage'
code 6 --json $image
json 'd["totals"]["leaks"] >= 20'
