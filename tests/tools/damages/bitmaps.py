"""Damages of persistent bitmaps: extension, directory, tables."""

import qcow2
from damages import damage, number, pick
from qcow2 import OFFSET_MASK, Unsuitable, align


def one_of(image, rng):
    return pick(rng, range(len(image.bitmaps())), "bitmap")


def past_end(image, rng):
    return align(image.length, image.cluster_size) + image.cluster_size * rng.randrange(1, 99)


def table_entry(image, rng, wanted=lambda entry: True):
    """(place, value) of an entry of a bitmap table."""
    return pick(rng, [(b.table_offset + 8 * i, e) for b in image.bitmaps()
                      for i, e in enumerate(image.table(b.table_offset, b.table_size)) if wanted(e)], "bitmap entry")


@damage
def bitmaps_missing(image, rng, arg):
    """drop the bitmaps extension, the autoclear bit stays"""
    image.extension(qcow2.EXT_BITMAPS)
    image.set_extensions([(e.type, e.data) for e in image.extensions() if e.type != qcow2.EXT_BITMAPS])
    return ["bitmaps.missing"]


@damage
def bitmaps_bit(image, rng, arg):
    """set the autoclear bit of bitmaps in an image that has none"""
    if image.version < 3 or any(e.type == qcow2.EXT_BITMAPS for e in image.extensions()):
        raise Unsuitable("only for a version 3 image without bitmaps")
    image["autoclear_features"] |= qcow2.BITMAPS
    return ["bitmaps.missing"]


@damage
def bitmaps_stale(image, rng, arg):
    """clear the autoclear bit of the bitmaps"""
    image.extension(qcow2.EXT_BITMAPS)
    image["autoclear_features"] &= ~qcow2.BITMAPS
    return ["bitmaps.stale"]


@damage
def bitmaps_count(image, rng, arg):
    """write a number of ARG (0) bitmaps"""
    image.put(image.bitmaps_header()[0], number(arg, 0), 4)
    return ["bitmaps.extension"]


@damage
def bitmaps_count_more(image, rng, arg):
    """claim one bitmap more than the directory holds"""
    at, count, _, _ = image.bitmaps_header()
    image.put(at, count + 1, 4)
    return ["bitmaps.directory"]


@damage
def bitmaps_reserved(image, rng, arg):
    """set a reserved bit of the bitmaps extension"""
    image.put(image.bitmaps_header()[0] + 4, 1 << rng.randrange(32), 4)
    return ["bitmaps.extension"]


@damage
def bitmaps_length(image, rng, arg):
    """claim a wrong length of the bitmaps extension"""
    image.put(image.bitmaps_header()[0] - 4, number(arg, 16), 4)
    return ["bitmaps.extension"]


@damage
def bitmaps_directory_unaligned(image, rng, arg):
    """let the bitmap directory begin in the midst of a cluster"""
    at, _, _, offset = image.bitmaps_header()
    image.put(at + 16, offset + rng.randrange(8, 512, 8))
    return ["bitmaps.directory"]


@damage
def bitmaps_directory_past_end(image, rng, arg):
    """let the bitmap directory lie past the end of the file"""
    image.put(image.bitmaps_header()[0] + 16, past_end(image, rng))
    return ["bitmaps.directory"]


@damage
def bitmaps_directory_size(image, rng, arg):
    """claim a directory of ARG (8 bytes less) bytes"""
    at, _, size, _ = image.bitmaps_header()
    image.put(at + 8, number(arg, size - 8))
    return ["bitmaps.extension" if arg else "bitmaps.directory"]


@damage
def bitmap_flags(image, rng, arg):
    """set a reserved flag of a bitmap"""
    victim = one_of(image, rng)
    image.put_bitmap_field(victim, "flags", image.bitmaps()[victim].flags | 1 << rng.randrange(3, 32))
    return ["bitmap.entry"]


@damage
def bitmap_type(image, rng, arg):
    """write a bitmap type of ARG (0)"""
    image.put_bitmap_field(one_of(image, rng), "type", number(arg, 0))
    return ["bitmap.entry"]


@damage
def bitmap_granularity(image, rng, arg):
    """write granularity_bits of ARG (32)"""
    image.put_bitmap_field(one_of(image, rng), "granularity_bits", number(arg, 32))
    return ["bitmap.entry"]


@damage
def bitmap_fine(image, rng, arg):
    """write a granularity that is too fine for the bitmap's table"""
    victim = pick(rng, [i for i, b in enumerate(image.bitmaps())
                        if image["size"] > b.table_size * image.cluster_size * 8 << 9], "bitmap that can't be finer")
    image.put_bitmap_field(victim, "granularity_bits", 9)
    return ["bitmap.entry"]


@damage
def bitmap_name_length(image, rng, arg):
    """claim a bitmap name that runs past the directory"""
    image.put_bitmap_field(one_of(image, rng), "name_size", number(arg, 1023))
    return ["bitmaps.directory"]


@damage
def bitmap_extra(image, rng, arg):
    """claim that part of a bitmap's name is extra data"""
    victim = pick(rng, [i for i, b in enumerate(image.bitmaps()) if len(b.name) > 1], "bitmap with a long name")
    size = len(image.bitmaps()[victim].name)
    image.put_bitmap_field(victim, "extra_size", 1)
    at = image.bitmaps()[victim].at
    image.put(at + qcow2.Bitmap.FIELDS["name_size"][0], size - 1, 2)
    return ["bitmap.entry"]


@damage
def bitmap_table_unaligned(image, rng, arg):
    """let a bitmap's table begin in the midst of a cluster"""
    victim = one_of(image, rng)
    image.put_bitmap_field(victim, "table_offset", image.bitmaps()[victim].table_offset + rng.randrange(8, 512, 8))
    return ["bitmap.entry"]


@damage
def bitmap_table_size(image, rng, arg):
    """write ARG (0) entries for a bitmap's table"""
    image.put_bitmap_field(one_of(image, rng), "table_size", number(arg, 0))
    return ["bitmap.entry"]


@damage
def bitmap_table_past_end(image, rng, arg):
    """let a bitmap's table lie past the end of the file"""
    image.put_bitmap_field(one_of(image, rng), "table_offset", past_end(image, rng))
    return ["bitmap.table"]


@damage
def bitmap_entry_reserved(image, rng, arg):
    """set a reserved bit of a bitmap table entry"""
    at, entry = table_entry(image, rng)
    image.put(at, entry | 1 << pick(rng, [*range(1, 9), *range(56, 64)]))
    return ["bitmap.table-entry"]


@damage
def bitmap_entry_unaligned(image, rng, arg):
    """let a bitmap table entry point into the midst of a cluster"""
    if image.cluster_size == 512:
        raise Unsuitable("with clusters of 512 bytes the bits between are reserved")
    at, entry = table_entry(image, rng, lambda e: e & OFFSET_MASK)
    image.put(at, entry + 512 * rng.randrange(1, image.cluster_size // 512))
    return ["bitmap.table-entry"]


@damage
def bitmap_entry_past_end(image, rng, arg):
    """let a bitmap table entry point past the end of the file"""
    at, _ = table_entry(image, rng)
    image.put(at, past_end(image, rng))
    return ["bitmap.table-entry"]


@damage
def bitmap_entry_shared(image, rng, arg):
    """let a bitmap table entry point at the L1 table"""
    at, _ = table_entry(image, rng)
    image.put(at, image["l1_table_offset"])
    return ["metadata.overlap"]


@damage
def bitmap_in_use(image, rng, arg):
    """mark a bitmap as in use"""
    victim = one_of(image, rng)
    image.put_bitmap_field(victim, "flags", image.bitmaps()[victim].flags | 1)
    return ["bitmap.in-use"]


@damage
def bitmap_duplicate_name(image, rng, arg):
    """give two bitmaps the same name"""
    bitmaps = image.bitmaps()
    pairs = [(a, b) for a in bitmaps for b in bitmaps if a is not b and len(a.name) == len(b.name)]
    one, other = pick(rng, pairs, "two bitmaps with names of one length")
    image.write(other.at + 24 + len(other.extra), one.name)
    return ["bitmap.duplicate-name"]
