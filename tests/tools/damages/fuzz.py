"""Random nonsense in one structure: values that tend to break programs. What must be found can't be foretold; what may
be found beyond QEMU's findings is the structure's own problems."""

from damages import damage, number, pick
from qcow2 import COMPRESSED, COPIED, HEADER, OFFSET_MASK, ZERO, Bitmap, Snapshot, Unsuitable, align


def nonsense(image, rng, old, bits):
    """A value of so many bits that isn't the old one."""
    clusters = align(image.length, image.cluster_size) // image.cluster_size
    values = [0, 1, 2, 3, 7, 8, 9, 16, 21, 22, 63, 64, 104, 112, 255, 256, 0x7FFF, 0x10000, (1 << bits) - 1,
              1 << (bits - 1), (1 << (bits - 1)) - 1, old + 1, old - 1, old * 2, old // 2, old ^ 1 << rng.randrange(bits),
              old + image.cluster_size, old - image.cluster_size, old + 512, old + 8, rng.getrandbits(bits),
              image.length, image.length - 1, clusters * image.cluster_size, rng.randrange(clusters) * image.cluster_size]
    return pick(rng, [v for v in values if 0 <= v < 1 << bits and v != old])


@damage
def header_fuzz(image, rng, arg):
    """write nonsense into a field of the header"""
    fields = [f for f in HEADER if image.version >= 3 or HEADER[f][0] < 72]
    name = pick(rng, [f for f in fields if f not in ("magic", "version")])
    value = nonsense(image, rng, image[name], 8 * HEADER[name][1])
    image[name] = 4 if (name, value) == ("crypt_method", 1) else value  # 1 is sense, and qemu-img would want the key
    return ["*?"]


@damage
def mapping_fuzz(image, rng, arg):
    """write nonsense into ARG (4) entries of L1 and L2 tables"""
    for _ in range(number(arg, 4)):
        tables = image.l2_tables()
        if not tables:
            break
        l1_index, table = pick(rng, tables)
        if table + image.cluster_size > image.length:
            continue
        at = image.l1_at(l1_index) if rng.randrange(8) == 0 else image.l2_at(table, rng.randrange(image.l2_entries))
        if image.extended_l2 and rng.randrange(3) == 0:
            at += 8 if at >= table else 0
        value = nonsense(image, rng, image.get(at), 64)
        if rng.randrange(2):
            value = value & OFFSET_MASK | pick(rng, [0, COPIED, COMPRESSED, ZERO, COPIED | ZERO])
        image.put(at, value)
    return ["*?"]


@damage
def reftable_fuzz(image, rng, arg):
    """write nonsense into ARG (2) entries of the refcount table or its blocks"""
    for _ in range(number(arg, 2)):
        blocks = [e for e in image.reftable() if 0 < e < image.length and e % image.cluster_size == 0]
        if rng.randrange(2) or not blocks:
            used = max((i for i, e in enumerate(image.reftable()) if e), default=0)
            at = image.reftable_at(rng.randrange(used + 2))
            image.put(at, nonsense(image, rng, image.get(at), 64))
        else:
            at = pick(rng, blocks) + rng.randrange(image.cluster_size if rng.randrange(2) else 64)
            image.put(at, rng.getrandbits(8), 1)
    return ["*?"]


@damage
def snapshot_fuzz(image, rng, arg):
    """write nonsense into a field of the snapshot table"""
    number_, name = pick(rng, range(len(image.snapshots())), "snapshot"), pick(rng, Snapshot.FIELDS)
    offset, size = Snapshot.FIELDS[name]
    at = image.snapshots()[number_].at + offset
    image.put(at, nonsense(image, rng, image.get(at, size), 8 * size), size)
    return ["*?"]


@damage
def snapshot_mapping_fuzz(image, rng, arg):
    """write nonsense into ARG (3) entries of the L1 and L2 tables of snapshots"""
    places = [place for s in range(len(image.snapshots())) for i, t in image.l2_tables(s)
              for place in [image.l1_at(i, s)] + [image.l2_at(t, j) for j in range(image.l2_entries)]]
    for at in [pick(rng, places, "snapshot with data") for _ in range(number(arg, 3))]:
        image.put(at, nonsense(image, rng, image.get(at), 64))
    return ["*?"]


@damage
def bitmap_fuzz(image, rng, arg):
    """write nonsense into the bitmaps extension, a directory entry or a bitmap table"""
    header, _, _, _ = image.bitmaps_header()
    bitmap = pick(rng, image.bitmaps(), "bitmap")
    offset, size = pick(rng, Bitmap.FIELDS.values())
    at, size = pick(rng, [(header + pick(rng, [0, 4]), 4), (header + pick(rng, [8, 16]), 8), (bitmap.at + offset, size),
                          (bitmap.table_offset + 8 * rng.randrange(bitmap.table_size), 8)])
    image.put(at, nonsense(image, rng, image.get(at, size), 8 * size), size)
    return ["*?"]


@damage
def extension_fuzz(image, rng, arg):
    """write nonsense into type or length of a header extension"""
    extensions = image.extensions()
    if not extensions:
        raise Unsuitable("the image has no header extension")
    at = pick(rng, extensions).at - pick(rng, [4, 8])
    image.put(at, nonsense(image, rng, image.get(at, 4), 32), 4)
    return ["*?"]
