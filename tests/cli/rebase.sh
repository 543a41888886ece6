#!/usr/bin/env bash
# -m rebase: the guest reads through the new backing file, every header extension is kept, in images of every kind; the
# name is resolved and looked at as QEMU does, unless -b. The log takes it back.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/features.bash"

image=case/image.qcow2 target=case/image.qcow2

# extensions IMAGE: all but the backing format's, as they stand there.
extensions() {
  python3 - "$1" <<'PY'
import sys
from qcow2 import *
with Image(sys.argv[1], False) as image:
    print([(hex(e.type), e.data.hex()) for e in image.extensions() if e.type != EXT_BACKING_FORMAT])
PY
}

# backing IMAGE: name and format, as QEMU reads them.
backing() {
  local line name=None format=None
  while IFS= read -r line; do
    if [[ $line =~ ^\ {4}\"backing-filename\":\ \"(.*)\" ]]; then name=${BASH_REMATCH[1]}; fi
    if [[ $line =~ ^\ {4}\"backing-filename-format\":\ \"(.*)\" ]]; then format=${BASH_REMATCH[1]}; fi
  done < <(qemu-img info --output=json "$1")
  echo "$name $format"
}

turn=0
for kind in "${all_kinds[@]}"; do
  case_of "$kind"
  original=made/$kind/image.qcow2
  if [[ $kind == data-file-raw ]]; then
    qemu-img create -q -f raw case/base.raw 16M
    cannot 255 "external data file is raw can't have a backing file; nothing was changed" -m rebase -F base.raw $image
    continue
  fi
  bytes=$(qemu-img info --output=json $image | sed -nE 's/^    "virtual-size": ([0-9]+),/\1/p')
  qemu-img create -q -f raw case/b.raw "$bytes"
  at=3  # where the image has nothing
  [[ $kind != 2M ]] || at=5
  qemu-io -f raw -c "write -q -P 0x61 ${at}M 1M" case/b.raw
  qemu-img convert -q -O qcow2 case/b.raw case/b.qcow2
  all=$(extensions $image)
  # Where header or tables are shaped otherwise, both; else a kind takes one of the two.
  bases=(raw qcow2)
  [[ $kind =~ ^(plain|v2|512|extended-l2|luks|backing)$ ]] || bases=("${bases[turn++ % 2]}")
  for base in "${bases[@]}"; do
    if [[ $kind$base == backingqcow2 ]]; then
      target=$image cannot 255 'recorded as raw: .* its guest may have written that. -b keeps raw; --force' -m rebase -F b.qcow2 $image
    fi
    code 0 -m rebase --force -F b.$base $image
    says out "backing file \"b\.$base\""
    [[ $(backing $image) == "b.$base $base" ]] || fail "$kind: $(backing $image)"
    [[ $(extensions $image) == "$all" ]] || fail "$kind: the extensions are $(extensions $image), not $all"
    clean "$kind" $image
    opening "$kind" $image
    qemu-img convert -q -O raw "${opened[@]}" guest.raw
    [[ $(qemu-io -r -f raw -c "read -q -P 0x61 ${at}M 1M" guest.raw) != *'Pattern verification failed'* ]] || fail "$kind: not the base"
    if [[ $kind != luks ]]; then qemu-io -f qcow2 -c 'write -q 3M 64k' -c 'read -q 0 64k' $image; fi
    rm -rf case/image.qcow2*
    cp -p "$original" $image
  done
  # There and back, and away.
  code 0 -m rebase --force -F b.qcow2 $image
  code 0 -m rebase -F '' $image
  [[ $(backing $image) == 'None None' && $(extensions $image) == "$all" ]] || fail "$kind: $(backing $image) $(extensions $image)"
  clean "$kind" $image
  code 0 -m undo --no-undo -F $image.undo.2 $image
  [[ $(backing $image) == 'b.qcow2 qcow2' ]] || fail "$kind: $(backing $image)"
  taken_back $image "$original"
done

# ---- what is looked at

mkdir -p case/sub elsewhere
case_of plain
mkdir -p case/sub elsewhere
original=made/plain/image.qcow2
qemu-img create -q -f qcow2 case/base.qcow2 16M
qemu-img create -q -f qcow2 case/sub/deep.qcow2 16M
cp case/sub/deep.qcow2 elsewhere/abs.qcow2
qemu-img create -q -f raw case/large.raw 20M
cannot 255 'the chain ends at case/missing\.qcow2: .*No such file.*-b writes' -m rebase -F missing.qcow2 $image
cannot 255 'large\.raw has a disk of 20971520 bytes, more than this image.s 16777216.*--force' -m rebase -F large.raw $image
cannot 255 'a loop; nothing was changed' -m rebase -F image.qcow2 $image
(cd case && qemu-img create -q -f qcow2 -u -b image.qcow2 -F qcow2 over.qcow2 16M)
cannot 255 'a loop; nothing was changed' -m rebase -F over.qcow2 $image
(cd case && qemu-img create -q -f qcow2 -u -b gone.raw -F raw orphan.qcow2 16M)
cannot 255 'the chain ends at case/gone\.raw' -m rebase -F orphan.qcow2 $image
cannot 255 "nbd://host/disk can't be looked at. -b" -m rebase -F nbd://host/disk $image
printf 'KDMV%01000d' 0 >case/other.vmdk
cannot 255 'looks like a VMDK image' -m rebase -F other.vmdk $image
for name in sub/deep.qcow2 "$folder/elsewhere/abs.qcow2" ../elsewhere/abs.qcow2; do
  code 0 -m rebase -F "$name" $image
  [[ $(backing $image) == "$name qcow2" ]] || fail "$(backing $image)"
  clean plain $image
done
code 0 -m rebase -F sub/deep.qcow2 $image
code 0 -m rebase -F sub/deep.qcow2 $image
says out 'nothing is to be done'
# Another size than the present one's is another disk.
qemu-img create -q -f raw case/small.raw 8M
cp -p $image before
rm -f $image.undo*
original=before
cannot 255 'disk of 8388608 bytes, the present backing file one of 16777216: it is another disk. --force' -m rebase -F small.raw $image
code 0 -m rebase --force -F small.raw $image
[[ $(backing $image) == 'small.raw raw' ]] || fail "$(backing $image)"
one_line
says line "its disk is the shorter one, what isn't allocated behind its end reads as zeros"
# Unchecked, the recorded format stays; where there is none, none is made up.
code 0 -m rebase -b -F nowhere $image
[[ $(qemu-img info --output=json $image | grep -c '"backing-filename-format": "raw"') == 1 ]] || fail "the format is lost"
code 0 -m rebase -b -F json:'{"driver":"raw"}' $image
code 0 -m rebase -F '' $image
code 0 -m rebase -b -F nowhere $image
says out 'backing file "nowhere" \(format none\)'
# A raw disk stays raw when it moves, whatever the guest has written to it.
case_of plain
cp case/image.qcow2 case/evil.raw
qemu-img create -q -f qcow2 -u -b evil.raw -F raw case/top.qcow2 16M
truncate -s 16M case/evil.raw
ln case/evil.raw case/moved.raw
code 0 -m rebase -F moved.raw case/top.qcow2
[[ $(backing case/top.qcow2) == 'moved.raw raw' ]] || fail "$(backing case/top.qcow2)"
mv case/moved.raw case/gone.raw
rm case/evil.raw
code 255 -m rebase -F gone.raw case/top.qcow2
says err 'recorded as raw'
code 0 -m rebase -b -F gone.raw case/top.qcow2
[[ $(backing case/top.qcow2) == 'gone.raw raw' ]] || fail "$(backing case/top.qcow2)"
# A base that QEMU can't open is none.
case_of plain
original=made/plain/image.qcow2
qemu-img create -q -f qcow2 case/bad.qcow2 16M
edit case/bad.qcow2 'image["cluster_bits"] = 99'
cannot 255 'the chain ends at case/bad\.qcow2: its header is damaged' -m rebase -F bad.qcow2 $image
# A name that lies before extensions hides them.
for kind in luks bitmaps; do
  case_of $kind
  edit $image 'image["backing_file_offset"] = image.header_length; image["backing_file_size"] = 8'
  cp -p $image before
  original=before
  cannot 255 "hides them: they would be overwritten" -m rebase -b -F other $image
done

# ---- what fits

case_of 512
original=made/512/image.qcow2
qemu-img create -q -f raw case/b.raw 4M
room=$((512 - 112 - 8 - 16))  # without the header, the format, the end of the extensions
long=$(printf './%.0s' $(seq $(((room - 5) / 2))))b.raw
code 0 -m rebase -F "$long" $image
[[ $(backing $image) == "$long raw" ]] || fail "$(backing $image)"
clean 512 $image
cp -p "$original" $image
rm $image.undo
cannot 255 'need [0-9]+ bytes, but the first cluster has 512; nothing was changed' -m rebase -F "./$long" $image
cannot 234 "a backing file's name has 1023 bytes at most, this one 1024" -m rebase -b -F "$(printf 'n%.0s' $(seq 1024))" $image
case_of plain
code 0 -m rebase -b -F "$(printf 'n%.0s' $(seq 1023))" $image
[[ $(qemu-img info -U $image | grep -c 'backing file: nnnn') == 1 ]] || fail "QEMU can't read the name"
cp -p $image before
original=before
edit $image 'image.put(image.extensions()[0].at - 4, 0x7fffffff, 4)'
cp -p $image before
rm -f $image.undo
cannot 255 "extensions can't be read to their end" -m rebase -b -F short $image
# Extensions that nobody knows are kept, too, and so is a longer header.
case_of plain
damage $image header-longer
edit $image 'image.set_extensions([(0x12345678, b"whatever it is")] + [(e.type, e.data) for e in image.extensions()])'
all=$(extensions $image)
cp -p $image before
code 0 -m rebase -b -F over.there $image
[[ $(extensions $image) == "$all" ]] || fail "$(extensions $image)"
undone $image $image.undo before

# What nobody knows may not fit the image any more.
case_of plain
damage $image autoclear-bit=5
code 0 -m rebase -b -F over.there $image
edit $image 'assert image["autoclear_features"] == 0'

# ---- no room, another writer

case_of plain
original=made/plain/image.qcow2
no_log -m rebase -b -F base $image
hold $image
code 245 -m rebase -b -F base $image
let_go
