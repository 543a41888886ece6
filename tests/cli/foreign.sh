#!/usr/bin/env bash
# Files of other kinds: the verdict says what they are, no repair is advised, and JSON names the format.
source "$(dirname "$0")/lib.bash"

# FILE FORMAT WORDS
is() {
  modest 6 "$1"
  says out 'NO QCOW2 IMAGE'
  says out "$3"
  says_not out 'CORRUPT:'
  says_not out 'qcow2-dump -[RA]'
  modest 6 --json "$1"
  python3 -c 'import json, sys; assert json.load(open("out"))["format"] == sys.argv[1]' "$2"
}

for format in vmdk vpc vhdx vdi qed qcow parallels; do
  qemu-img create -q -f $format a.$format 16M
done
qemu-img create -q -f vpc -o subformat=fixed fixed.vpc 16M
is a.vmdk vmdk 'a VMDK image'
is a.vpc vhd 'a VHD image'
is fixed.vpc vhd 'a VHD image'
is a.vhdx vhdx 'a VHDX image'
is a.vdi vdi 'a VDI image'
is a.qed qed 'a QED image'
is a.qcow qcow 'first version of qcow'
is a.parallels parallels 'a Parallels image'

image vm.qcow2
gzip -k vm.qcow2
xz -k vm.qcow2
is vm.qcow2.gz gzip 'a gzip file'
is vm.qcow2.xz xz 'an xz file'

# at FILE OFFSET HEX...: a raw file of zeros with these bytes
at() {
  truncate -s 4M "$1"
  printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
at zstd 0 '\x28\xb5\x2f\xfd'
is zstd zstd 'a zstd file'
at mbr 510 '\x55\xaa'
is mbr raw 'boot sector'
at gpt 510 '\x55\xaa'
at gpt 512 'EFI PART'
is gpt raw 'GPT partition table'
at ext4 1080 '\x53\xef'
is ext4 raw 'ext4'
at xfs 0 'XFSB'
is xfs raw 'XFS'

# A qcow2 image whose beginning something else has overwritten is one all the same.
cp vm.qcow2 over.qcow2
dd if=gpt of=over.qcow2 bs=64K count=1 conv=notrunc status=none
modest 6 over.qcow2
says out 'no qcow2 image, or its beginning was overwritten'
says_not out 'NO QCOW2 IMAGE'
modest 0 --json vm.qcow2
python3 -c 'import json; assert json.load(open("out"))["format"] == "qcow2"'
