"""Damages of L1 and L2 tables, active ones. What makes clusters overlap is in overlaps.py."""

import recount
from damages import damage, log_lines, number, pick
from qcow2 import COPIED, OFFSET_MASK, ZERO, Unsuitable, align


def used_l1(image, rng):
    """(L1 index, place of the entry, L2 table) of an L1 entry in use."""
    index, table = pick(rng, image.l2_tables(), "L2 table")
    return index, image.l1_at(index), table


def used_l2(image, rng, *kinds):
    """An L2 entry that has a cluster."""
    return pick(rng, image.entries(*(kinds or ("normal", "zero-alloc"))), "such L2 entry")


def far_away(image, rng):
    """A cluster past the end of the file; one in four is very far."""
    if rng.randrange(4) == 0:
        return rng.randrange(1 << 40, 1 << 55) & ~(image.cluster_size - 1)
    return align(max(image.length, image["size"]), image.cluster_size) + rng.randrange(1, 1000) * image.cluster_size


def reserved_bit(rng):
    return 1 << pick(rng, [*range(1, 9), *range(56, 62)])


@damage
def l1_reserved(image, rng, arg):
    """set a reserved bit of an L1 entry"""
    _, at, _ = used_l1(image, rng)
    image.put(at, image.get(at) | reserved_bit(rng))
    return ["l1.reserved"]


@damage
def l1_unaligned(image, rng, arg):
    """let an L1 entry point into the midst of a cluster"""
    _, at, _ = used_l1(image, rng)
    if image.cluster_size == 512:
        raise Unsuitable("with clusters of 512 bytes the bits between are reserved")
    image.put(at, image.get(at) + 512 * rng.randrange(1, image.cluster_size // 512))
    return ["l1.unaligned"]


@damage
def l1_past_end(image, rng, arg):
    """let an L1 entry point past the end of the file"""
    _, at, _ = used_l1(image, rng)
    image.put(at, far_away(image, rng) | COPIED)
    return ["l1.past-end"]


@damage
def l1_no_offset(image, rng, arg):
    """leave only COPIED of an L1 entry"""
    _, at, _ = used_l1(image, rng)
    image.put(at, COPIED)
    return ["l1.no-offset"]


@damage
def l1_entry_zeroed(image, rng, arg):
    """zero an L1 entry: its L2 table and its data look like leaks"""
    _, at, _ = used_l1(image, rng)
    image.put(at, 0)
    return ["refcount.leak", "l2.lost?"]


@damage
def l1_zeroed(image, rng, arg):
    """zero the active L1 table"""
    place, entries = image.l1_place()
    image.write(place, bytes(8 * entries))
    return ["refcount.leak", "l2.lost?"]


@damage
def l1_entry_garbage(image, rng, arg):
    """overwrite an L1 entry with random bits"""
    _, at, _ = used_l1(image, rng)
    image.put(at, rng.getrandbits(64) | 0x1FE)
    return ["l1.reserved"]


@damage
def l1_garbage(image, rng, arg):
    """overwrite the active L1 table with random bytes"""
    place, entries = image.l1_place()
    if not entries:
        raise Unsuitable("the L1 table is empty")
    image.write(place, rng.randbytes(8 * entries - 8) + b"\xfe" * 8)
    return ["l1.reserved"]


@damage
def l1_copied_flip(image, rng, arg):
    """flip COPIED of an L1 entry"""
    _, at, _ = used_l1(image, rng)
    image.put(at, image.get(at) ^ COPIED)
    return ["l1.copied"]


@damage
def l2_reserved(image, rng, arg):
    """set a reserved bit of an L2 entry"""
    entry = used_l2(image, rng)
    image.put(entry.at, entry.value | reserved_bit(rng))
    return ["l2.reserved"]


@damage
def l2_unaligned(image, rng, arg):
    """let an L2 entry point into the midst of a cluster"""
    entry = used_l2(image, rng)
    if image.cluster_size == 512:
        raise Unsuitable("with clusters of 512 bytes the bits between are reserved")
    image.put(entry.at, entry.value + 512 * rng.randrange(1, image.cluster_size // 512))
    return ["l2.unaligned"]


@damage
def l2_past_end(image, rng, arg):
    """let an L2 entry point past the end of the file"""
    entry = used_l2(image, rng)
    image.put(entry.at, entry.value & ~OFFSET_MASK | far_away(image, rng))
    return ["data-file.past-end", "data-file.not-identity"] if image.external_data else ["l2.past-end"]


@damage
def l2_entry_zeroed(image, rng, arg):
    """zero an L2 entry: its cluster looks like a leak"""
    entry = used_l2(image, rng, "normal", "zero-alloc", "compressed")
    image.put(entry.at, 0)
    if image.extended_l2:
        image.put(entry.at + 8, 0)
    return [] if image.external_data else ["refcount.leak"]


@damage
def l2_table_zeroed(image, rng, arg):
    """zero an L2 table: all its clusters look like leaks"""
    _, table = pick(rng, [(i, t) for i, t in image.l2_tables()
                          if any(e.kind in ("normal", "zero-alloc", "compressed") for e in image.l2_entries_of(t, empty=False))],
                    "L2 table with data")
    image.write(table, bytes(image.cluster_size))
    return [] if image.external_data else ["refcount.leak"]


@damage
def l2_table_garbage(image, rng, arg):
    """overwrite an L2 table with random bytes"""
    _, _, table = used_l1(image, rng)
    image.write(table, rng.randbytes(image.cluster_size - 16) + b"\x3f" * 16)
    return ["l2.reserved|l1.no-table"]


@damage
def l2_table_text(image, rng, arg):
    """overwrite an L2 table with log lines of a guest"""
    _, _, table = used_l1(image, rng)
    image.write(table, log_lines(image.cluster_size))
    return ["l1.no-table"]


@damage
def l2_copied_flip(image, rng, arg):
    """flip COPIED of ARG (1) L2 entries"""
    entries = [e for e in image.entries("normal", "zero-alloc") if e.host]
    for entry in rng.sample(entries, min(number(arg, 1), len(entries)) or 1) if entries else [used_l2(image, rng)]:
        image.put(entry.at, entry.value ^ COPIED)
    return ["l2.copied"]


@damage
def l2_zero_v2(image, rng, arg):
    """set the zero flag in a version 2 image"""
    if image.version != 2:
        raise Unsuitable("the image is not version 2")
    entry = used_l2(image, rng)
    image.put(entry.at, entry.value | ZERO)
    return ["l2.zero-v2"]


@damage
def l2_zero_extended(image, rng, arg):
    """set the zero flag in an image with extended L2 entries"""
    if not image.extended_l2:
        raise Unsuitable("the L2 entries are not extended")
    entry = used_l2(image, rng)
    image.put(entry.at, entry.value | ZERO)
    return ["l2.zero-extended"]


@damage
def subclusters_both(image, rng, arg):
    """mark some subclusters as allocated and as zero at once"""
    if not image.extended_l2:
        raise Unsuitable("the L2 entries are not extended")
    entry = used_l2(image, rng)
    bits = rng.randrange(1, 1 << 32)
    image.put(entry.at + 8, entry.bitmap | bits << 32 | bits)
    return ["l2.bitmap"]


@damage
def subclusters_lost(image, rng, arg):
    """take the cluster from an entry whose subclusters are marked as allocated"""
    if not image.extended_l2:
        raise Unsuitable("the L2 entries are not extended")
    entry = pick(rng, [e for e in image.entries("normal") if e.bitmap & 0xFFFF_FFFF], "allocated subcluster")
    image.put(entry.at, 0)
    return ["l2.bitmap-unallocated"]


@damage
def l2_beyond_end(image, rng, arg):
    """map a new cluster behind the end of the disk"""
    first = align(image["size"], image.cluster_size)
    candidates = [e for i, table in image.l2_tables() for e in image.l2_entries_of(table, i)
                  if e.kind == "unallocated" and e.guest >= first]
    entry = pick(rng, candidates, "free L2 entry behind the end of the disk")
    image.put(entry.at, (entry.guest if image.external_data else image.append()) | COPIED)
    if image.extended_l2:
        image.put(entry.at + 8, 0xFFFF_FFFF)
    recount.match(image)  # the L2 table may be a snapshot's too
    return ["l2.beyond-end", *(["data-file.past-end"] if image.external_data else [])]


@damage
def data_file_shift(image, rng, arg):
    """let an L2 entry of an image with a data file name the place of another guest cluster"""
    if not image.external_data:
        raise Unsuitable("the image has no external data file")
    one, other = sorted(rng.sample(image.entries("normal", "zero-alloc"), 2), key=lambda e: e.guest)
    image.put(other.at, other.value & ~OFFSET_MASK | one.host)
    return ["data-file.reuse", "data-file.not-identity"]


@damage
def data_file_swap(image, rng, arg):
    """exchange the places of two guest clusters in the data file: no place is used twice, but none is right"""
    if not image.external_data:
        raise Unsuitable("the image has no external data file")
    one, other = rng.sample(image.entries("normal"), 2)
    image.put(one.at, other.value)
    image.put(other.at, one.value)
    return ["data-file.not-identity"]
