#!/usr/bin/env bash
# -D and -E: the image is what qemu-img snapshot -d makes of it, in images of every kind: the same figures, snapshots, and
# content of each state. The log takes it back.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/features.bash"

image=case/image.qcow2

# figures: what is allocated, leaked and wrong, as QEMU has counted it in check.log.
figures() {
  local line
  while read -r line; do
    if [[ $line =~ \"((allocated|fragmented|compressed|total)-clusters|leaks|corruptions)[a-z-]*\": ]]; then echo "${line%,}"; fi
  done <check.log
}

# The arguments, and the snapshots that go. Kinds whose tables are shaped alike take every other of them.
ways=('-D first:first' '-D 2:second' '-D all:first second' '-E snapshot[0]:second' '-E 0:first second')
turn=0

for kind in "${with_snapshots[@]}"; do
  case_of "$kind"
  original=made/$kind/image.qcow2
  declare -A was=([active]=$(reads "$kind" "$original") [first]=$(reads "$kind" "$original" first)
    [second]=$(reads "$kind" "$original" second))
  for way in "${!ways[@]}"; do
    [[ $kind =~ ^(plain|512|extended-l2|resized|compressed)$ ]] || (((way + turn) % 2 == 0)) || continue
    how=${ways[way]}
    read -ra gone <<<"${how#*:}"
    for state in "${gone[@]}"; do qemu "$kind" $image snapshot -d "$state"; done
    qemu "$kind" $image check --output=json >check.log || true
    expected=$(figures) listed=$(snapshots $image)

    cp -p "$original" $image
    # shellcheck disable=SC2086
    code 0 ${how%:*} $image
    says out 'snapshot . \(".*"\) removed'
    clean "$kind" $image
    [[ $(figures) == "$expected" ]] || fail "$kind, $how: $(figures), not $expected"
    [[ $(snapshots $image) == "$listed" ]] || fail "$kind, $how: $(snapshots $image), not $listed"
    [[ $(reads "$kind" $image) == "${was[active]}" ]] || fail "$kind, $how: the guest reads something else"
    for state in first second; do
      [[ " ${gone[*]} " != *" $state "* ]] || continue
      [[ $(reads "$kind" $image $state) == "${was[$state]}" ]] || fail "$kind, $how: $state is another"
    done
    taken_back $image "$original"
    rm $image.undo
  done
  turn=$((turn + 1))
done

# Nothing is left of them but the guest's disk, and what they alone held is free.
case_of vm-state
code 0 -D all --no-undo $image
edit $image '
used = {e.host >> image.cluster_bits for e in image.entries("normal", "zero-alloc")}
counted = sum(image.refcount(c) > 0 for c in range(image.length >> image.cluster_bits))
assert counted < len(used) + 20, (counted, len(used))'

# ---- exact IDs go first, then names; what is ambiguous is said

case_of plain
qemu-img snapshot -c 1 $image      # ID 3
qemu-img snapshot -c twin $image
qemu-img snapshot -c twin $image
cp -p $image original
original=original target=$image
cannot 234 'several snapshots are called "twin": snapshot\[3\] 4 \("twin"\), snapshot\[4\] 5 \("twin"\); say which' -D twin $image
cannot 234 'several snapshots are called "twin"' -E twin $image
for wrong in nobody 9 'snapshot[5]' '' 0 -1; do
  cannot 234 'no snapshot is called.*snapshot\[0\] 1 \("first"\)' -D "$wrong" $image
done
cannot 234 'no snapshot is called' -E all $image
code 0 -D 1 $image
[[ $(snapshots $image) == *"[('2', 'second', 0), ('3', '1', 0), ('4', 'twin', 0), ('5', 'twin', 0)]" ]] || fail "$(snapshots $image)"
code 0 -D 1 $image  # nobody has the ID any more
[[ $(snapshots $image) == *"[('2', 'second', 0), ('4', 'twin', 0), ('5', 'twin', 0)]" ]] || fail "$(snapshots $image)"
code 0 -E 'snapshot[2]' $image
[[ $(snapshots $image) == *"[('5', 'twin', 0)]" ]] || fail "$(snapshots $image)"
clean plain $image
code 0 -D all $image
code 0 -D all $image
says out 'nothing is to be done'
qemu-img snapshot -c all $image
qemu-img snapshot -c 0 $image
cp -p $image original
rm -f $image.undo*
cannot 234 '"all" means all snapshots, and one is called so' -D all $image
cannot 234 '"0" means all snapshots, and one is called so' -E 0 $image

# ---- damaged tables: the entry goes without a look at them, and only if it must

active=$(reads plain made/plain/image.qcow2) second=$(reads plain made/plain/image.qcow2 second)
for what in l1-offset l1-entry l2-table; do
  case_of plain
  edit $image "
s = image.snapshots()[0]
if '$what' == 'l1-offset': image.put(s.at, 0x123456)
if '$what' == 'l1-entry': image.put(s.l1_table_offset, 0x8000000000000200)
if '$what' == 'l2-table': image.write(image.l2_tables(0)[0][1], bytes(range(1, 255)) * 16)"
  cp -p $image original
  rm -f $image.undo*
  cannot 255 'the tables of snapshot 1 \("first"\) are damaged.*--force.*nothing was changed' -D first $image
  cannot 255 'the tables of snapshot 1 \("first"\) are damaged' -D all $image
  leaky -D first --force $image
  one_line
  says line 'lossy delete .*snapshot 1 \("first"\) removed without its damaged tables: .* stay behind as leaks'
  [[ $(reads plain $image) == "$active" ]] || fail "$what: the guest reads something else"
  [[ $(reads plain $image second) == "$second" ]] || fail "$what: the other is another"
  code 0 -R leak --force --no-undo $image
  clean plain $image
  cp -p original $image
  rm $image.undo
  leaky -D all --force $image
  [[ $(snapshots $image) == *'[]' ]] || fail "$what: $(snapshots $image)"
done

# A snapshot table that can't be read to its end would lose the rest.
case_of plain
edit $image 'image.put_snapshot_field(1, "extra_size", 0xffffffff)'
cp -p $image original
cannot 255 "can't be read to its end" -D 1 $image

# ---- what was leaked stays leaked, and what is hidden stays what it is

case_of plain
damage $image refcount-leak=4
leaky -D first $image
leaky --json $image
json 'd["totals"]["leaks"] in range(1, 6)'
case_of plain
damage $image l1-entry-garbage
edit $image 'print([image.refcount(c) for c in range(image.length >> 16)])'  >before
code 6 -D all --force $image
edit $image '
shared = [c for c in range(image.length >> 16) if image.refcount(c) > 0]
assert len(shared) > 16, shared'

# What nobody knows may have referred to it.
case_of plain
damage $image autoclear-bit=5
code 0 -D first $image
one_line
says line 'unknown autoclear bits cleared'
edit $image 'assert image["autoclear_features"] == 0'

# ---- no room, another writer

case_of 512
original=made/512/image.qcow2
no_room -D first $image
clean 512 $image
case_of plain
hold $image
code 245 -D first $image
let_go
