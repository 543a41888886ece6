#!/usr/bin/env bash
# An image on a block device: a repair finds its room between the image and the device's end, or refuses; the log goes to
# the working folder. Needs a loop device.
source "$(dirname "$0")/lib.bash"

if ((EUID != 0)) || ! command -v losetup >/dev/null; then exit 77; fi

# 512-byte clusters, the refcount blocks of which are lost: new ones are needed.
qemu-img create -q -f qcow2 -o cluster_size=512 image 4M
qemu-io -f qcow2 -c 'write -P 41 0 1M' image >qemu-io.log
cp image lost
edit lost 'for i, e in enumerate(image.reftable()): image.put(image.reftable_at(i), 0)'
end=$(stat -c %s lost)

# device FILE: attaches it as $disk.
device() {
  disk=$(losetup --show -f "$1" 2>err) || exit 77
  name=${disk##*/}
}
detach() {
  losetup -d "$disk"
  disk=
}
trap '[[ -z ${disk-} ]] || losetup -d "$disk"; rm -rf "$folder"' EXIT

# ---- with room, and something of somebody else's behind it all

cp lost backing
truncate -s $((end + 262144)) backing
device backing
got=$(blockdev --getsize64 "$disk")
((got == end + 262144)) || fail "the device has $got bytes"
cp backing original
mkdir elsewhere
cd elsewhere
"$QCOW2_DUMP" -R all --dry-run "$disk" >../out 2>../err || (($? == 4)) || fail "a dry run"
got=0
"$QCOW2_DUMP" -R all "$disk" >../out 2>../err || got=$?
((got == 0)) || fail "exit code $got"
[[ -e $name.undo && ! -e $disk.undo ]] || fail "the log isn't in the working folder"
says ../out "^To take it back: qcow2-dump -m undo -F $name\.undo $disk$"
code 0 "$disk"
qemu-img check -q -f qcow2 "$disk" || fail "qemu-img doesn't agree"
qemu-img compare -q -f qcow2 -F qcow2 "$disk" ../image || fail "other content"
code 0 -m undo -F "$name.undo" "$disk"
[[ -e $name.undo.2 ]] || fail "no log of the undo"
cmp "$disk" ../original || fail "not what it was"
code 0 -m undo --no-undo -F "$name.undo.2" "$disk"
code 0 "$disk"

# ---- free clusters

qemu-io -f qcow2 -c 'discard 256k 512k' "$disk" >../qemu-io.log
cp "$disk" ../discarded
code 0 -R discard "$disk"
says ../out 'free clusters'
says ../out '^([0-9]+ bytes were given back\.|.* free clusters keep their space\.)$'
sync
cp "$disk" ../punched
qemu-img check -q -f qcow2 "$disk" || fail "qemu-img doesn't agree after -R discard"
qemu-img compare -q -f qcow2 -F qcow2 "$disk" ../discarded || fail "other content after -R discard"
[[ $(blockdev --getsize64 "$disk") == $((end + 262144)) ]] || fail "the device has another size"
log=$(sed -nE 's/.*-m undo -F ([^ ]+) .*/\1/p' ../out)
# Where the kernel has made the guest's own discard a hole already, there is nothing to take back.
cmp -s "$disk" ../discarded || code 0 -m undo --no-undo -F "$log" "$disk"
cmp "$disk" ../discarded || fail "not what it was before -R discard"
cd ..
detach

# ---- refcount blocks that may hold more than anybody knows: what isn't zero behind the image stays as it is

cp image ruined
edit ruined 'for i, e in enumerate(image.reftable()): image.put(image.reftable_at(i), e and e | 256)'
cp ruined backing
head -c 50000 /dev/zero | tr '\0' '\252' >>backing
truncate -s $((end + 262144)) backing
cp backing original
device backing
"$QCOW2_DUMP" -R all "$disk" >out 2>err || true
cmp -i "$end" -n 50000 "$disk" original || fail "data was overwritten"
qemu-img compare -q -f qcow2 -F qcow2 "$disk" image || fail "other content"
code 0 -m undo --no-undo -F "$name.undo" "$disk"
cmp "$disk" original || fail "not what it was"
rm "$name.undo"
detach

# ---- an L2 table whose L1 entry is lost, and the refcounts with it: the only map of its clusters stays

qemu-img create -q -f qcow2 maps 1G
qemu-io -f qcow2 -c 'write -P 42 0 8M' -c 'write -P 43 600M 4M' maps >qemu-io.log
cp maps backing
edit backing 'at = image.get(image.l1_at(1)) & 0xfffffffffffe00
open("l2", "wb").write(image.read(at, 65536))
image.put(image.l1_at(1), 0)
image.put(image.reftable_at(0), 0)'
truncate -s 64M backing
cp backing original
device backing
"$QCOW2_DUMP" -R all "$disk" >out 2>err || true
python3 -c 'import sys; sys.exit(open("l2", "rb").read() not in open(sys.argv[1], "rb").read())' "$disk" ||
  fail "the lost L2 table was overwritten"
detach
rm -f "$name.undo"

# ---- no room: to the sector, and with too little of it

for room in 0 512 1024; do
  cp lost backing
  truncate -s $((end + room)) backing
  cp backing original
  device backing
  code 228 -R all "$disk"
  says err '^qcow2-dump: there is no room for .*make the device larger.*nothing was changed'
  cmp "$disk" original || fail "with $room bytes of room: the device was written to"
  [[ ! -e $name.undo ]] || fail "a useless log is left"
  detach
  same backing original
done

# ---- read-only

cp lost backing
truncate -s $((end + 262144)) backing
cp backing original
disk=$(losetup --show -r -f backing)
got=0
"$QCOW2_DUMP" -R all "$disk" >out 2>err || got=$?
((got == 243 || got == 226 || got == 255)) || fail "exit code $got"
says err "^qcow2-dump: .*$disk"
[[ ! -e ${disk##*/}.undo ]] || fail "a useless log is left"
detach
same backing original
