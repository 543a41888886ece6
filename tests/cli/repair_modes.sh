#!/usr/bin/env bash
# What each -R does and what it leaves alone, in every mode that checks; the exit code is that of a fresh check after it.
source "$(dirname "$0")/lib.bash"

# Data: a cluster that leaks, one whose refcount is too low, one that two guest offsets claim; all in one image where
# the one doesn't touch the other.
image healthy -o cluster_size=4k
cp healthy leaky
edit leaky 'image.append(3)'
cp healthy low
edit low 'for e in image.entries("normal")[3:9]: image.set_refcount(e.host >> 12, 0)'
cp healthy both
edit both 'image.append(3); [image.set_refcount(e.host >> 12, 0) for e in image.entries("normal")[3:9]]'
cp healthy twice
edit twice 'a, b = image.entries("normal")[5:7]; image.put(b.at, a.value)'  # b's cluster leaks

# repaired IMAGE WHAT CODE: the code is the one of a fresh check, and undo takes it back.
repaired() {
  rm -f image.qcow2*
  cp "$1" image.qcow2
  code "$3" -R "$2" image.qcow2
  cp out out.repair
  code "$3" -m error image.qcow2
  code "$3" image.qcow2
  if [[ -e image.qcow2.undo ]]; then
    cp image.qcow2 image.after
    undone image.qcow2 image.qcow2.undo "$1"
    cp image.after image.qcow2
  else
    same image.qcow2 "$1"
  fi
  cp out.repair out
}

# ---- leak: frees leaks and nothing else

repaired leaky leak 0
says out 'refcounts of 3 clusters .*: 1 -> 0'
repaired both leak 4
says out 'refcounts of 3 clusters .*: 1 -> 0'
says_not out ': 0 -> 1'
edit image.qcow2 'sys.exit(any(image.refcount(e.host >> 12) for e in image.entries("normal")[3:9]))' || fail "-R leak has raised refcounts"
repaired low leak 4
says out 'nothing is to be done'
repaired twice leak 4
says out 'nothing is to be done'

# ---- error: raises and nothing else

repaired low error 0
says out '[0-9]+ clusters .*: 0 -> 1'
repaired both error 1
says_not out ': 1 -> 0'
edit image.qcow2 'sys.exit(image.refcount((image.length >> 12) - 1) != 1)' || fail "-R error has freed a leak"
repaired leaky error 1
says out 'nothing is to be done'
cp healthy flags
damage flags l2-copied-flip=4
code 2 flags
repaired flags error 0
repaired flags leak 2
cp healthy marked
damage marked corrupt-bit
code 3 marked
repaired marked error 0

# ---- reuse: each claimant gets a cluster of its own, with what both had; all of them are named

repaired twice reuse 1
tr -s '\n ' ' ' <out >line
says line 'guest offset 0x6000 \(L1 entry 0, L2 entry 6\) gets a copy of its own at 0x[0-9a-f]+; '
says line 'cluster 0x[0-9a-f]+ was claimed by guest offset 0x5000 \(L1 entry 0, L2 entry 5\), guest offset 0x6000 '
edit image.qcow2 '
a, b = image.entries("normal")[5:7]
one, other = image.read(a.host, 4096), image.read(b.host, 4096)
sys.exit(a.host == b.host or one != other or image.refcount(a.host >> 12) != 1 or image.refcount(b.host >> 12) != 1)' ||
  fail "the two aren't apart"
edit image.qcow2 'b = Image("healthy", False).entries("normal")[6]; sys.exit(image.refcount(b.host >> 12) != 1)' ||
  fail "-R reuse has freed a leak"
[[ $(guest image.qcow2) == "$(guest twice)" ]] || fail "the guest reads something else"
repaired low reuse 0
cp healthy three
edit three 'a, b, c = image.entries("normal")[5:8]; image.put(b.at, a.value); image.put(c.at, a.value)'
repaired three reuse 1
edit image.qcow2 'sys.exit(len({e.host for e in image.entries("normal")[5:8]}) != 3)' || fail "three aren't apart"
for offset in 0x5000 0x6000 0x7000; do says out "guest offset $offset "; done

# Guest data on top of an L2 table: the table keeps its place, the guest's entry moves.
cp healthy on-table
edit on-table 'e = image.entries("normal")[5]; image.put(e.at, image.l2_tables()[1][1] | COPIED)'
code 4 on-table
repaired on-table reuse 1
says out 'cluster\.on-metadata'
says out "L2 table of L1 entry"
edit image.qcow2 '
before = Image("healthy", False)
e = image.entries("normal")[5]
sys.exit(image.l2_tables() != before.l2_tables() or e.host == image.l2_tables()[1][1] or e.host >= image.length)' ||
  fail "the L2 table has moved, or the data hasn't"
[[ $(guest image.qcow2) == "$(guest on-table)" ]] || fail "the guest reads something else"

# ---- all

for what in leaky low both twice three on-table flags marked; do
  left=0
  [[ ! $what =~ twice|three|on-table ]] || left=1  # what the doubled entries have lost
  repaired $what all $left
  got=0
  qemu-img check -q image.qcow2 >out || got=$?
  ((got == 3 * left)) || fail "$what: qemu-img doesn't agree"
  [[ $(guest image.qcow2) == "$(guest $what)" ]] || fail "$what: the guest reads something else"
done
repaired healthy all 0
says out 'nothing is to be done'
for what in off check; do
  cp both image.qcow2
  code 4 -R $what image.qcow2
  same image.qcow2 both
done

# ---- in every mode: the report is of the image as it is now

for mode in check error info dump; do
  cp both image.qcow2
  rm -f image.qcow2.undo
  code 0 -m $mode -R all image.qcow2
  says out '^Repair:$'
  says out '^To take it back:'
  [[ $mode == info ]] || says out 'GOOD|L2 table|l2 table'
  says_not out '\[error\]|\[leak\]'
  undone image.qcow2 image.qcow2.undo both
  rm image.qcow2.undo
  code 0 --json -m $mode -R all image.qcow2
  json "d['mode'] == 'repair' and d['status'] == 'good' and not d.get('problems') and d['repair']['undo-log'] == 'image.qcow2.undo'"
done

# ---- several images: each gets its own log, the worst state is the code, and one that fails doesn't stop the others

rm -f -- *.undo
for name in a b c; do cp both $name.qcow2; done
code 1 -R error a.qcow2 b.qcow2 c.qcow2
for name in a b c; do undone $name.qcow2 $name.qcow2.undo both; done
rm -- *.undo
code 254 -R all a.qcow2 missing.qcow2 b.qcow2
code 0 a.qcow2 b.qcow2
for name in a b; do undone $name.qcow2 $name.qcow2.undo both; done
rm -- *.undo
hold b.qcow2
cp b.qcow2 in-use
code 245 -R all a.qcow2 b.qcow2 c.qcow2
same b.qcow2 in-use
let_go
code 0 a.qcow2 c.qcow2
[[ ! -e b.qcow2.undo ]] || fail "a log of nothing"
