# Every line of a dump, against a slow and simple dump written in Python, on healthy, unusual and damaged images.
source "$(dirname "$0")/lib.bash"

cat >expected_dump.py <<'PY'
import sys
from qcow2 import COMPRESSED, COPIED, OFFSET_MASK, REFTABLE_MASK, Image
import recount

L1_RESERVED, L2_RESERVED = 0x7F000000000001FF, 0x3F000000000001FE


def markers(**found):
    return "".join(f" [{name}]" for name, is_so in found.items() if is_so)


def raw(value, flags, zero=True):
    names = [name for name, bit in (("COPIED", COPIED), ("COMPRESSED", COMPRESSED), ("ZERO", 1 if zero else 0)) if value & bit]
    return f" [0x{value:x}{': ' if names else ''}{' '.join(names)}]" if flags else ""


class Dump:
    def __init__(self, image, flags):
        self.image, self.flags = image, flags
        self.size = -(-image.length // 512) * 512

    def copied_wrong(self, value, state):
        return state is None and \
            (self.image.refcount((value & OFFSET_MASK) >> self.image.cluster_bits) == 1) != bool(value & COPIED)

    def mapping(self, state):
        image = self.image
        for index, value in enumerate(image.l1_entries(state)):
            if not value:
                continue
            offset = value & OFFSET_MASK
            yield f"l1 table[{index:4}], l2 offset: 0x{offset:x}" + raw(value, self.flags, zero=False) + markers(
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
        zero = e.kind != "compressed" and not image.extended_l2
        return f"\tl2 table[{e.l2_index:4}], data offset: 0x{e.host:x}" + raw(e.value, self.flags, zero) + \
            f"{bitmap}{text} | vdisk offset: 0x{e.guest:x}"

    def refcounts(self):
        image = self.image
        references = recount.references(image)
        table = list(image.reftable())
        lacking = {c // image.block_entries for c in references} - set(range(len(table)))
        for index, value in enumerate(table + [0] * len(lacking)):
            first = index * image.block_entries
            clusters = range(first, first + image.block_entries)
            if not value and not any(c in references for c in clusters):
                continue
            offset = value & REFTABLE_MASK
            unaligned = offset % image.cluster_size
            yield f"refcount table[{index:4}], offset: 0x{offset:x}" + markers(
                unaligned=unaligned, invalid=value & 0x1FF or offset >= self.size)
            for i, cluster in enumerate(clusters if not unaligned else []):
                found, right = image.refcount(cluster), references[cluster]
                if found or right:
                    yield f"\trefcount block[{i:5}], refcount: {found} | reference: {right}" + markers(
                        error=found < right, leak=found > right) + \
                        f" | cluster[{cluster}] offset: 0x{cluster << image.cluster_bits:x}"


with Image(sys.argv[1], writable=False) as image:
    dump = Dump(image, "-f" in sys.argv)
    for state in [None, *range(image["nb_snapshots"])]:
        for line in dump.mapping(state):
            print(line)
    for line in dump.refcounts():
        print(line)
PY

# compare IMAGE: with and without flags.
compare() {
  for flags in "" -f; do
    python3 expected_dump.py "$1" $flags >expected
    "$QCOW2_DUMP" -b -m dump $flags "$1" >whole || true
    grep -aE $'^(l1 table\\[|\tl2 table|refcount table\\[|\trefcount block)' whole >got || true
    cmp -s expected got || { diff expected got | head -20; fail "$2: the dump differs"; }
  done
}

for recipe in "$@"; do
  name=$(basename "$(dirname "$recipe")")
  rm -rf built
  python3 "$here/../tools/mkimage.py" "$recipe" built
  compare built/image.qcow2 "$name"
done
