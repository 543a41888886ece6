#!/usr/bin/env bash
# Repairs that are known to destroy data: here nothing is lost. Leaked clusters that may be the only copy of something
# keep their content and their refcount until --force is given.
source "$(dirname "$0")/lib.bash"

# 4 KiB clusters: an L2 table maps 2 MiB. All of it was written in one go, as guests do.
qemu-img create -q -f qcow2 -o cluster_size=4k healthy 16M
qemu-io -f qcow2 -c 'write -P 17 0 7M' -c 'write -P 18 12M 512k' healthy >qemu-io.log

# remember L1_INDEX: where healthy has the L2 table of an L1 entry and what that maps, a host offset a line.
remember() {
  edit healthy "
table = dict(image.l2_tables())[$1]
print(table, *(e.host for e in image.l2_entries_of(table, $1) if e.kind == 'normal'), sep='\n')" >places
  (($(wc -l <places) > 100)) || fail "a test without data"
}

# kept IMAGES BEFORE WHAT: what lies at the places (`data`: but for the L2 table) is what BEFORE has there. And it won't be
# handed out: its refcounts aren't 0, now and after somebody has written to the image.
kept() {
  python3 - "$@" <<'PY' 2>err || fail "$(<err)"
import sys
from qcow2 import Image
before = open(sys.argv[2], "rb")
places = [int(line) for line in open("places")]
for name in sys.argv[1].split():
    image = Image(name, False)
    for place in places[sys.argv[3] == "data":]:
        before.seek(place)
        if image.read(place, 4096) != before.read(4096): sys.exit(f"{name}: the content of {place:#x} is lost")
        if image.refcount(place >> 12) == 0: sys.exit(f"{name}: the cluster at {place:#x} is free")
PY
}
# What is lost or free now is lost or free then, too.
kept_by_writers() {
  qemu-io -f qcow2 -c 'write -P 77 8M 3M' "$1" >qemu-io.log 2>&1 || true  # QEMU refuses this one
  kept "$@"
}

# suspicious IMAGE CODE PATTERN: no repair frees anything, each ends with CODE, and says why.
suspicious() {
  local what size blocks old_size old_blocks
  cp "$1" before
  for what in leak discard all error reuse; do
    cp before image.qcow2
    code "$2" -R $what image.qcow2
    [[ $what == error || $what == reuse ]] || says out "$3"
    sync image.qcow2 before  # a file system may allot blocks late
    read -rd '' size blocks old_size old_blocks < <(stat -c '%s %b' image.qcow2 before) || true
    ((size >= old_size)) || fail "-R $what has cut the file"
    ((blocks >= old_blocks)) || fail "-R $what has given space back"
    kept_by_writers image.qcow2 before all
    rm -f image.qcow2*
  done
}

# freed IMAGE ARGUMENT…: all places are free, and it is told that this may be a loss.
freed() {
  cp "$1" image.qcow2
  code 0 "${@:2}" --force image.qcow2
  says out 'lossy'
  edit image.qcow2 "sys.exit(any(image.refcount(int(line) >> 12) for line in open('places')))" || fail "not freed: $*"
  undone image.qcow2 image.qcow2.undo "$1"
  rm -f image.qcow2*
}

echo "an L1 entry that was zeroed" >&2
remember 1
cp healthy vm.qcow2
edit vm.qcow2 'image.put(image.l1_at(1), 0)'
suspicious vm.qcow2 6 'leak'
cp vm.qcow2 image.qcow2
code 6 -R all image.qcow2
says out 'l2\.lost'
same image.qcow2 vm.qcow2
one_line
says line "513 leaked clusters are not freed: .*guest's bytes 0x200000 to 0x40[01]000.*--force frees them"
code 6 --json -R all image.qcow2
json 'any(r["code"] == "refcount.leak" and "0x200000" in r["text"] for r in d["repair"]["refused"])'
freed vm.qcow2 -R leak
freed vm.qcow2 -R all

echo "an L2 table that was zeroed" >&2
cp healthy vm.qcow2
edit vm.qcow2 'image.write(dict(image.l2_tables())[1], bytes(4096))'
suspicious vm.qcow2 1 'leak'
sed -i 1d places  # the table itself is in use
freed vm.qcow2 -R all

echo "a few leaks that hold nothing are no loss" >&2
cp healthy vm.qcow2
edit vm.qcow2 'image.append(4)'
code 0 -R leak vm.qcow2
says_not out 'lossy'
rm vm.qcow2.undo

echo "one bad L1 entry, then the leaks are freed" >&2
remember 1
for value in 0x8000000000000200 0x80ffffffffff0000 0x8000000040000000; do
  cp healthy vm.qcow2
  edit vm.qcow2 "image.put(image.l1_at(1), image.get(image.l1_at(1)) + 512 if $value == 0x8000000000000200 else $value)"
  suspicious vm.qcow2 6 'not freed|nothing is discarded'
done

echo "the snapshot table isn't where the header says" >&2
cp healthy snapshots
snapshot snapshots first
qemu-io -f qcow2 -c 'write -P 33 0 2M' snapshots >qemu-io.log
snapshot snapshots second
qemu-io -f qcow2 -c 'write -P 34 1M 2M' snapshots >qemu-io.log
state() { echo "$(guest "$1") $(guest "$1" first) $(guest "$1" second)"; }
state snapshots >contents
edit snapshots 'for s in range(2): print(*(e.host for e in image.entries("normal", state=s)), sep="\n")' >places
for pointer in 'image.length + 0x100000' 'image["snapshots_offset"] + 512' 'image.entries("normal")[5].host' \
  'image["l1_table_offset"]' 'image["snapshots_offset"] + 64' 0x1000; do
  cp snapshots vm.qcow2
  edit vm.qcow2 "image['snapshots_offset'] = $pointer"
  cp vm.qcow2 before
  for what in leak all; do
    cp before vm.qcow2
    got=0
    "$QCOW2_DUMP" -R $what vm.qcow2 >out 2>err || got=$?
    kept vm.qcow2 before all
    if [[ $got == 0 ]]; then
      [[ $(state vm.qcow2) == "$(<contents)" ]] || fail "$pointer: -R $what changes what the guest or a snapshot reads"
    else
      ((got <= 6)) || fail "$pointer: exit code $got"
      # Whoever finds the table later must have all of it.
      edit vm.qcow2 "
image['snapshots_offset'] = Image('snapshots', False)['snapshots_offset']
image['nb_snapshots'] = 2"
      [[ $(state vm.qcow2) == "$(<contents)" ]] || fail "$pointer: after -R $what the snapshots are damaged"
    fi
    rm -f vm.qcow2.undo
  done
done
cp snapshots vm.qcow2
edit vm.qcow2 'image["snapshots_offset"] = image.length + 0x100000'
code 0 -R all vm.qcow2
says out 'snapshot table found again'
rm vm.qcow2.undo

echo "one snapshot's pointer to its L1 table is bad" >&2
for pointer in 'image.length + 0x100000' 'image.snapshots()[0].l1_table_offset + 512'; do
  cp snapshots vm.qcow2
  edit vm.qcow2 "image.put_snapshot_field(0, 'l1_table_offset', $pointer)"
  cp vm.qcow2 before
  "$QCOW2_DUMP" -R all vm.qcow2 >out 2>err || (($? <= 6)) || fail "$pointer"
  kept vm.qcow2 before all
  [[ $(guest vm.qcow2 second) == "$(guest snapshots second)" ]] || fail "$pointer: the other snapshot has changed"
  rm -f vm.qcow2.undo
done

echo "data in clusters with refcount 0, while refcount blocks are made" >&2
qemu-img create -q -f qcow2 -o cluster_size=512 tiny 4M
qemu-io -f qcow2 -c 'write -P 41 0 1M' tiny >qemu-io.log
snapshot tiny first
qemu-io -f qcow2 -c 'write -P 42 300k 1M' tiny >qemu-io.log
content="$(guest tiny) $(guest tiny first)"
for change in \
  'for i, e in enumerate(image.reftable()): image.put(image.reftable_at(i), 0)' \
  'for i, e in enumerate(image.reftable()): i % 2 and image.put(image.reftable_at(i), 0)' \
  'for e in image.entries("normal"): image.set_refcount(e.host >> 9, 0)' \
  'for i, e in enumerate(image.reftable()): e and image.put(image.reftable_at(i), e + 0x20)' \
  'for i, e in enumerate(image.reftable()): e and image.put(image.reftable_at(i), image.entries("normal")[i].host)' \
  'for i, e in enumerate(image.reftable()): e and image.write(e, bytes(512))' \
  'image["refcount_table_offset"] = image.length + 512' \
  'image["refcount_table_offset"] = image.entries("normal")[7].host'; do
  cp tiny vm.qcow2
  edit vm.qcow2 "$change"
  cp vm.qcow2 before
  "$QCOW2_DUMP" -R all vm.qcow2 >out 2>err || (($? == 1)) || fail "$change"  # the old blocks may look suspicious
  [[ "$(guest vm.qcow2) $(guest vm.qcow2 first)" == "$content" ]] || fail "$change: other content"
  qemu-img check -q vm.qcow2 || (($? == 3)) || fail "$change: qemu-img doesn't agree"
  undone vm.qcow2 vm.qcow2.undo before
  rm vm.qcow2.undo
done

echo "an unaligned refcount block" >&2
cp healthy vm.qcow2
edit vm.qcow2 'image.put(image.reftable_at(0), image.get(image.reftable_at(0)) + 512)'
code 0 -R all vm.qcow2
qemu-img check -q vm.qcow2 || fail "qemu-img doesn't agree"
edit vm.qcow2 'sys.exit(image["incompatible_features"])' || fail "marked as corrupt"
qemu-img compare -q vm.qcow2 healthy || fail "other content"
rm vm.qcow2.undo

echo "an L1 entry that was zeroed, after a crash with lazy refcounts" >&2
remember 1
cp healthy vm.qcow2
edit vm.qcow2 'image.put(image.l1_at(1), 0); image["compatible_features"] |= 1; image["incompatible_features"] |= DIRTY'
cp vm.qcow2 before
for what in leak all; do
  cp before vm.qcow2
  code 6 -R $what vm.qcow2
  says out 'l2\.lost'
  kept vm.qcow2 before all
  rm -f vm.qcow2.undo
done

echo "the refcount table lost, and an L1 entry, too" >&2
remember 1
for change in 'image["refcount_table_offset"] = image.length + 4096' 'image.put(image.reftable_at(0), 0)' \
  'image.write(image["refcount_table_offset"], bytes(4096))' \
  'image.put(image.reftable_at(0), image.get(image.reftable_at(0)) + 512)'; do
  cp healthy vm.qcow2
  edit vm.qcow2 "image.put(image.l1_at(1), 0); $change"
  cp vm.qcow2 before
  "$QCOW2_DUMP" -R all vm.qcow2 >out 2>err || (($? <= 6)) || fail "$change"
  kept vm.qcow2 before all
  kept_by_writers vm.qcow2 before all
  rm -f vm.qcow2.undo
done

# ---- what a review has found: each of these was freed or overwritten once

# orphan IMAGE GUEST_OFFSET: the cluster of HEALTHY that its guest offset leads to is the only place.
orphan() {
  edit "$1" "
entry = next(e for e in image.entries('normal') if e.guest == $2)
print(entry.host, entry.host, sep='\n')" >places
}
# doubtful IMAGE: -R leak and all free none of the places, with or without a repair of the rest before.
doubtful() {
  local what tried=()
  cp "$1" before
  for what in leak all error-leak reuse-error; do
    cp before $what
    tried+=("$what")
    for step in ${what/-/ }; do
      "$QCOW2_DUMP" -R $step $what >out 2>err || (($? <= 6)) || fail "-R $step"
    done
  done
  kept "${tried[*]}" before all
}

echo "a doubled entry, whose own data looks leaked" >&2
orphan healthy 0x3000
cp healthy broken
edit broken 'a, b = image.entries("normal")[2:4]; image.put(b.at, a.value)'
doubtful broken

echo "an entry whose offset has flipped to a free cluster" >&2
orphan healthy 0x3000
cp healthy broken
edit broken 'e = image.entries("normal")[3]; image.put(e.at, e.value ^ e.host | image.length); image.truncate(image.length + 8192)'
doubtful broken

echo "an L2 table that was zeroed in place, after a crash with lazy refcounts" >&2
remember 1
cp healthy broken
edit broken '
table = dict(image.l2_tables())[1]
image.write(table, bytes(4096))
image["compatible_features"] |= 1
image["incompatible_features"] |= DIRTY'
doubtful broken

echo "zeroed L2 entries next to a bitmap that can't be read" >&2
remember 1
cp healthy broken
qemu-img bitmap --add broken daily
edit broken '
table = dict(image.l2_tables())[1]
image.write(table, bytes(4096))
image.put(image.bitmaps()[0].at + 17, 255, 1)'
doubtful broken

echo "an L2 table of nothing but zeros that the guest has written" >&2
qemu-img create -q -f qcow2 -o cluster_size=4k zeros 16M
qemu-io -f qcow2 -c 'write -z 0 2M' -c 'write -P 18 12M 512k' zeros >qemu-io.log
edit zeros 'print(*[image.l2_tables()[0][1]] * 2, sep="\n")' >places
cp zeros broken
edit broken 'image.put(image.l1_at(0), 0)'
doubtful broken

# leaves CONDITION: after -R all of `broken`, that is still so.
leaves() {
  cp broken vm.qcow2
  "$QCOW2_DUMP" -R all vm.qcow2 >out 2>err || (($? <= 6)) || fail "-R all"
  edit vm.qcow2 "assert $1" || fail "the proof is gone: $1"
  rm -f vm.qcow2*
}

echo "COMPRESSED on an entry that isn't" >&2
cp healthy broken
edit broken 'e = image.entries("normal")[5]; image.put(e.at, e.value | 1 << 62)'
leaves 'image.get(image.l2_at(image.l2_tables()[0][1], 5)) >> 62 == 3'

echo "a snapshot behind an impossible count" >&2
cp healthy broken
qemu-img snapshot -c keep broken
edit broken 'at = image.snapshots()[0].at; image.put(at, image.get(at) | 512); image["nb_snapshots"] = 70000'
leaves 'image["snapshots_offset"] != 0'

echo "a file that was cut off, and a repair that needs room" >&2
cp healthy broken
edit broken 'a, b = image.entries("normal")[2:4]; image.put(b.at, a.value); image.truncate(image.length // 2 & ~4095)'
cp broken vm.qcow2
code 6 -R all vm.qcow2
says out 'Bring the rest of the file back first'
same vm.qcow2 broken
rm -f vm.qcow2*
