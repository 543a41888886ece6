"""Counts the references of an image, and can make its refcounts and COPIED flags agree with them.

Damages use it to hide behind right refcounts: a cluster used twice whose refcount says 2 escapes every check that only
compares numbers. Whatever lies past the end of the file is not counted.
"""

import struct
from collections import Counter

import qcow2
from qcow2 import COPIED, OFFSET_MASK, REFTABLE_MASK, align


def metadata(image):
    """(name, offset, bytes) of every structure that isn't guest data, snapshots' tables included."""
    def tables(name, state):
        place, entries = image.l1_place(state)
        yield f"{name}l1", place, 8 * entries
        for _, table in image.l2_tables(state):
            yield f"{name}l2", table, image.cluster_size

    cluster = image.cluster_size
    yield "header", 0, cluster
    yield "reftable", image["refcount_table_offset"], image["refcount_table_clusters"] * cluster
    for entry in image.reftable():
        if entry & REFTABLE_MASK:
            yield "refblock", entry & REFTABLE_MASK, cluster
    yield from tables("", None)
    snapshots = image.snapshots()
    if snapshots:
        start = image["snapshots_offset"]
        yield "snapshot-table", start, snapshots[-1].at + len(snapshots[-1].encode()) - start
    for state in range(len(snapshots)):
        yield from tables("snapshot-", state)
    extensions = {e.type: e for e in image.extensions()}
    if qcow2.EXT_CRYPTO in extensions:
        offset, size = struct.unpack(">QQ", extensions[qcow2.EXT_CRYPTO].data)
        yield "luks", offset, size
    if qcow2.EXT_BITMAPS in extensions and image["autoclear_features"] & qcow2.BITMAPS:
        _, _, size, offset = image.bitmaps_header()
        yield "bitmap-directory", offset, size
        for bitmap in image.bitmaps():
            yield "bitmap-table", bitmap.table_offset, 8 * bitmap.table_size
            for entry in image.table(bitmap.table_offset, bitmap.table_size):
                if entry & OFFSET_MASK:
                    yield "bitmap-data", entry & OFFSET_MASK, cluster


def references(image):
    """cluster number -> how many references there are."""
    count, end = Counter(), image.length

    def refer(offset, size):
        if offset + size - end < image.cluster_size:
            count.update(range(offset // image.cluster_size, -(-(offset + size) // image.cluster_size)))

    for _, offset, size in metadata(image):
        refer(offset, size)
    for state in [None, *range(image["nb_snapshots"])]:
        for entry in image.entries("compressed", *(() if image.external_data else ("normal", "zero-alloc")),
                                   state=state):
            refer(entry.host, entry.size)
    return count


def match(image):
    """Makes refcounts and the COPIED flags of the active tables agree with the references."""
    counted = references(image)
    for cluster in range(align(image.length, image.cluster_size) // image.cluster_size):
        if image.refcount(cluster) != counted[cluster]:
            image.set_refcount(cluster, counted[cluster])
    fix_copied(image)


def fix_copied(image):
    """Makes the COPIED flags of the active tables agree with the refcounts."""
    for l1_index, table in image.l2_tables():
        put_copied(image, image.l1_at(l1_index), table)
        for entry in image.l2_entries_of(table, l1_index, empty=False):
            if entry.has_cluster and not image.external_data:
                put_copied(image, entry.at, entry.host)


def put_copied(image, at, host):
    value = image.get(at)
    right = value | COPIED if image.refcount(host // image.cluster_size) == 1 else value & ~COPIED
    if right != value:
        image.put(at, right)
