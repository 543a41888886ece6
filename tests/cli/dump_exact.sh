#!/usr/bin/env bash
# Every line of a dump, against a slow and simple dump written in Python, on healthy, unusual and damaged images.
source "$(dirname "$0")/lib.bash"

cat >expected_dump.py <<'PY'
import sys
import damages
from qcow2 import COMPRESSED, COPIED, OFFSET_MASK, REFTABLE_MASK, Image
import recount

L1_RESERVED, L2_RESERVED = 0x7F000000000001FF, 0x3F000000000001FE


def markers(**found):
    return "".join(f" [{name}]" for name, is_so in found.items() if is_so)


def raw(value, flags, **bits):
    names = [name for name, bit in bits.items() if value & bit]
    return f" [0x{value:x}{': ' if names else ''}{' '.join(names)}]" if flags else ""


class Dump:
    def __init__(self, image):
        self.image, self.flags = image, False
        self.size = -(-image.length // 512) * 512
        self.references = recount.references(image)
        self.blocks = []  # of each refcount table entry: None if it can't be read, else the refcounts that aren't 0
        for value in image.reftable():
            offset = value & REFTABLE_MASK
            block = image.read(offset, image.cluster_size) if offset else b""
            self.blocks.append(None if offset % image.cluster_size else dict(self.nonzero(block)))

    def nonzero(self, block):
        bits = self.image.refcount_bits
        if bits < 8:
            values = (byte >> shift & (1 << bits) - 1 for byte in block for shift in range(0, 8, bits))
        else:
            values = (int.from_bytes(block[i:i + bits // 8], "big") for i in range(0, len(block), bits // 8))
        return ((i, value) for i, value in enumerate(values) if value)

    def refcount(self, cluster):
        block, i = divmod(cluster, self.image.block_entries)
        return self.blocks[block].get(i, 0) if block < len(self.blocks) else 0

    def copied_wrong(self, value, state):
        cluster = (value & OFFSET_MASK) >> self.image.cluster_bits
        return state is None and (self.refcount(cluster) == 1) != bool(value & COPIED)

    def mapping(self, state):
        image = self.image
        for index, value in enumerate(image.l1_entries(state)):
            if not value:
                continue
            offset = value & OFFSET_MASK
            yield f"l1 table[{index:4}], l2 offset: 0x{offset:x}" + raw(value, self.flags, COPIED=COPIED) + markers(
                unaligned=offset % image.cluster_size,
                invalid=value & L1_RESERVED or offset == 0 or offset >= self.size,
                error=offset and self.copied_wrong(value, state))
            for e in image.l2_entries_of(offset, index, state):
                if e.value or e.bitmap:
                    yield self.entry(e, state)

    def entry(self, e, state):
        image = self.image
        allocated, zeros = e.bitmap & 0xFFFFFFFF, e.bitmap >> 32
        if e.kind == "compressed":
            invalid = image.external_data or e.bitmap or e.host + e.size >= self.size + image.cluster_size
            text = markers(invalid=invalid, error=not invalid and e.value & COPIED)
        else:
            data = e.has_cluster and image.external_data
            text = markers(
                unaligned=e.has_cluster and e.host % image.cluster_size,
                invalid=e.value & L2_RESERVED or allocated & zeros or (not e.has_cluster and allocated) or
                        (e.has_cluster and not data and e.host >= self.size),
                error=(state is None and not e.value & COPIED) if data else
                      e.has_cluster and self.copied_wrong(e.value, state))
        bitmap = f" [bitmap: 0x{e.bitmap:x}]" if image.extended_l2 else ""
        zero = 1 if e.kind != "compressed" and not image.extended_l2 else 0
        flags = raw(e.value, self.flags, COPIED=COPIED, COMPRESSED=COMPRESSED, ZERO=zero)
        return f"\tl2 table[{e.l2_index:4}], data offset: 0x{e.host:x}{flags}{bitmap}{text} | " \
            f"vdisk offset: 0x{e.guest:x}"

    def refcounts(self):
        image = self.image
        used = {}
        for cluster in self.references:
            block, i = divmod(cluster, image.block_entries)
            used.setdefault(block, set()).add(i)
        table = dict(enumerate(image.reftable()))
        for index in sorted(used.keys() | {i for i, value in table.items() if value}):
            value = table.get(index, 0)
            offset = value & REFTABLE_MASK
            yield f"refcount table[{index:4}], offset: 0x{offset:x}" + markers(
                unaligned=offset % image.cluster_size, invalid=value & 0x1FF or offset >= self.size)
            block = self.blocks[index] if index < len(self.blocks) else {}
            if block is None:
                continue
            for i in sorted(used.get(index, set()) | block.keys()):
                cluster = index * image.block_entries + i
                found, right = block.get(i, 0), self.references[cluster]
                yield f"\trefcount block[{i:5}], refcount: {found} | reference: {right}" + markers(
                    error=found < right, leak=found > right) + \
                    f" | cluster[{cluster}] offset: 0x{cluster << image.cluster_bits:x}"


if sys.argv[2:]:
    damages.load_all()
    for damage in sys.argv[2:]:
        damages.apply(sys.argv[1], damage, "0")
with Image(sys.argv[1], writable=False) as image:
    dump = Dump(image)
    for name, dump.flags in ("expected", False), ("expected-f", True):
        with open(name, "w") as file:
            for state in [None, *range(image["nb_snapshots"])]:
                file.writelines(f"{line}\n" for line in dump.mapping(state))
            file.writelines(f"{line}\n" for line in dump.refcounts())
PY

# compare NAME IMAGE [DAMAGE...]: with and without flags, after these damages.
compare() {
  python3 expected_dump.py "${@:2}"
  for flags in "" -f; do
    "$QCOW2_DUMP" -b -m dump $flags "$2" >whole || true
    grep -aE $'^(l1 table\\[|\tl2 table|refcount table\\[|\trefcount block)' whole >got || true
    [[ -s expected ]] || fail "$1: the image is empty"
    cmp -s expected$flags got || {
      diff expected$flags got | head -20 >out || true
      fail "$1: the dump differs (<: expected)"
    }
  done
}

# build CREATE-OPTIONS: an image with all kinds of clusters.
build() {
  local compressed=64k unable='^$'
  if [[ $1 == *=2M* ]]; then compressed=2M; fi
  if [[ $1 == *data_file* ]]; then unable='compressed|snapshot'; fi
  if [[ $1 == *bits=1 ]]; then unable=snapshot; fi
  grep -vE "$unable" >recipe <<RECIPE
create size=16M $1
write 0 300k pattern=0x11
snapshot first
write 128k 256k pattern=0x22
zero 2M 128k
compressed-write 6M $compressed noise=1
snapshot second
write 4M 1M pattern=0x33
zero 4M 64k
RECIPE
  python3 "$here/../tools/mkimage.py" recipe "$1" >/dev/null
}

# exact CREATE-OPTIONS [DAMAGE...]: such an image, damaged in all these ways.
exact() {
  [[ -d $1 ]] || build "$1"
  cp "$1/image.qcow2" damaged.qcow2
  compare "$*" damaged.qcow2 "${@:2}"
}

for bits in $(part_of 1 2 64 4 8 32); do exact "cluster_size=4k refcount_bits=$bits"; done
exact "compat=0.10"
exact "cluster_size=512"
exact "cluster_size=2M"
exact "cluster_size=64k extended_l2=on"
exact "compression_type=zstd"
exact "cluster_size=4k data_file=data.raw"

for damage in $(part_of l1-unaligned l1-past-end l1-reserved l1-copied-flip l2-unaligned l2-past-end l2-reserved \
  l2-copied-flip=9 l2-dup refcount-high=5 refcount-low refcount-zero=9 refcount-leak=5 refcount-past-end \
  compressed-copied compressed-past-end snapshot-l2-unaligned snapshot-l1-past-end-entry reftable-zeroed); do
  exact "cluster_size=4k" $damage
done
exact "cluster_size=4k" l2-dup l2-unaligned l2-copied-flip=20 refcount-high=20 refcount-leak=20
exact "cluster_size=64k extended_l2=on" subclusters-both
exact "cluster_size=64k extended_l2=on" subclusters-lost
exact "cluster_size=4k data_file=data.raw" l2-copied-flip=5
