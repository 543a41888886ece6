"""Harmless changes: unusual images in which nothing is wrong."""

import struct

import qcow2
import recount
from damages import harmless, number, pick
from qcow2 import COPIED, REFTABLE_MASK, Unsuitable, align


@harmless
def trailing(image, rng, arg):
    """let the file be ARG (1M) longer than its last cluster"""
    image.truncate(image.length + number(arg, 1 << 20))


@harmless
def compatible_bit(image, rng, arg):
    """set compatible feature bit ARG (63)"""
    image["compatible_features"] |= 1 << number(arg, 63)


@harmless
def unknown_extension(image, rng, arg):
    """add a header extension that nobody knows"""
    own = (0x54455354, rng.randbytes(number(arg, 20)))
    image.set_extensions([(e.type, e.data) for e in image.extensions()] + [own])


@harmless
def header_longer(image, rng, arg):
    """let the header have ARG (128) bytes, what's new being zero"""
    extensions = [(e.type, e.data) for e in image.extensions()]
    old, new = image.header_length, number(arg, 128)
    image["header_length"] = image.header_length = new
    image.set_extensions(extensions)
    image.write(old, bytes(new - old))


@harmless
def header_old(image, rng, arg):
    """a version 3 header of 104 bytes, as it was before the compression type"""
    extensions = [(e.type, e.data) for e in image.extensions()]
    image["header_length"] = image.header_length = 104
    image.set_extensions(extensions)


@harmless
def l1_larger(image, rng, arg):
    """move the L1 table to a place with ARG (twice as many) entries"""
    place, entries = image.l1_place()
    new = number(arg, 2 * entries)
    clusters = align(8 * new, image.cluster_size) // image.cluster_size
    moved = image.append(clusters)
    image.write(moved, image.read(place, 8 * entries))
    image["l1_table_offset"], image["l1_size"] = moved, new
    recount.match(image)


@harmless
def reftable_larger(image, rng, arg):
    """move the refcount table to a place with one cluster more"""
    place, size = image["refcount_table_offset"], image["refcount_table_clusters"] * image.cluster_size
    clusters = image["refcount_table_clusters"] + 1
    moved = image.append(clusters)
    image.write(moved, image.read(place, size))
    image["refcount_table_offset"], image["refcount_table_clusters"] = moved, clusters
    recount.match(image)


@harmless
def reftable_gap(image, rng, arg):
    """map a cluster far behind the others, so that refcount table entries between are empty"""
    entry = pick(rng, [e for i, t in image.l2_tables() for e in image.l2_entries_of(t, i)
                       if e.kind == "unallocated" and e.guest + image.cluster_size <= image["size"]], "free L2 entry")
    image.truncate(align(image.length, image.cluster_size) + 2 * image.block_entries * image.cluster_size)
    image.put(entry.at, image.append() | COPIED)
    if image.extended_l2:
        image.put(entry.at + 8, 0xFFFF_FFFF)


@harmless
def refblock_spare(image, rng, arg):
    """have a refcount block for a region behind the end of the file"""
    table = image.reftable()
    index = pick(rng, [i for i, e in enumerate(table) if not e & REFTABLE_MASK], "empty refcount table entry")
    last = max(i for i, e in enumerate(table) if e)
    image.put(image.reftable_at(max(index, last + 2) if last + 2 < len(table) else index), image.append())


@harmless
def snapshot_extra(image, rng, arg):
    """give all snapshots ARG bytes of extra data, filled with their values and then with unknown ones"""
    snapshots = image.snapshots()
    for snapshot in snapshots:
        size = number(arg)
        known = snapshot.extra or struct.pack(">QQQ", 0, image["size"], (1 << 64) - 1)
        snapshot.extra = known[:size].ljust(size, b"?")
    image.set_snapshots(snapshots)


@harmless
def vm_state(image, rng, arg):
    """say that what lies behind the end of the disk is the last snapshot's VM state (ARG bytes); take it from the
    active disk, as QEMU does"""
    snapshots = image.snapshots()
    last = snapshots[-1]
    last.vm_state_size = number(arg)
    last.extra = struct.pack(">Q", last.vm_state_size) + last.extra[8:]
    image.set_snapshots(snapshots)
    place, entries = image.l1_place()
    first = align(image["size"], image.l2_entries * image.cluster_size) // (image.l2_entries * image.cluster_size)
    image.write(place + 8 * first, bytes(8 * (entries - first)))
    recount.match(image)


@harmless
def bitmap_all(image, rng, arg):
    """let the first bitmap's table entries read as all ones (ARG 1) or all zeros (ARG 0), its clusters freed"""
    bitmap = image.bitmaps()[0]
    image.write(bitmap.table_offset, struct.pack(">Q", number(arg, 1)) * bitmap.table_size)
    recount.match(image)


@harmless
def copied_of_snapshot(image, rng, arg):
    """flip COPIED in tables that only a snapshot has: there it means nothing"""
    active = {table for _, table in image.l2_tables()}
    own = {table for state in range(len(image.snapshots())) for _, table in image.l2_tables(state)} - active
    entries = [e for table in sorted(own) for e in image.l2_entries_of(table) if e.has_cluster]
    victim = pick(rng, entries, "entry that only a snapshot has")
    image.put(victim.at, victim.value ^ COPIED)


@harmless
def feature_names_lost(image, rng, arg):
    """drop the feature name table"""
    if image.version < 3:
        raise Unsuitable("version 2 has no features")
    image.set_extensions([(e.type, e.data) for e in image.extensions() if e.type != qcow2.EXT_FEATURE_NAMES])
