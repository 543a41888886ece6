"""Damages of files as a whole: truncation, overwritten stretches, files that went away."""

import os

import qcow2
from damages import damage, number, pick
from qcow2 import REFTABLE_MASK, Unsuitable, align


# What may be found beside: whatever reaches over the end of the file. QEMU says nothing as long as it is by less than a
# cluster.
CUT = ["l1.truncated?", "l2.truncated?", "refblock.truncated?", "compressed.payload?", "snapshot.entry?",
       "snapshot.table?", "bitmaps.directory?", "bitmap.table?", "bitmap.table-entry?", "header.crypt?",
       "image.truncated?"]


@damage
def truncate(image, rng, arg):
    """cut the file to ARG bytes"""
    image.truncate(number(arg))
    return CUT


@damage
def truncate_cluster(image, rng, arg):
    """cut the file at the end of some cluster of its second half"""
    clusters = align(image.length, image.cluster_size) // image.cluster_size
    image.truncate(pick(rng, range(clusters // 2, clusters - 1), "cluster to cut") * image.cluster_size)
    return CUT


@damage
def truncate_mid(image, rng, arg):
    """cut the file in the midst of some cluster of its second half"""
    clusters = align(image.length, image.cluster_size) // image.cluster_size
    cluster = pick(rng, range(clusters // 2, clusters - 1), "cluster to cut")
    image.truncate(cluster * image.cluster_size + rng.randrange(1, image.cluster_size))
    return CUT


@damage
def truncate_last(image, rng, arg):
    """cut off a part of the last cluster only"""
    start = align(image.length, image.cluster_size) - image.cluster_size
    if image.length - start < 2:
        raise Unsuitable("the last cluster has one byte only")
    image.truncate(start + rng.randrange(1, image.length - start))
    return CUT


def cut_within(image, rng, start, size, code):
    """Cuts the file within [start, start + size). `code` is what must be found, if the tables that lead there remain."""
    cut = start + rng.randrange(1, size)
    l1, entries = image.l1_place()
    reftable_end = image["refcount_table_offset"] + image["refcount_table_clusters"] * image.cluster_size
    reachable = max(l1 + 8 * entries if code != "l1.truncated" else 0, reftable_end) <= cut
    image.truncate(cut)
    return [code, *CUT] if reachable else CUT


@damage
def truncate_l2(image, rng, arg):
    """cut the file in the midst of its last L2 table"""
    table = max((t for _, t in image.l2_tables()), default=None)
    return cut_within(image, rng, pick(rng, [table] if table else [], "L2 table"), image.cluster_size, "l2.truncated")


@damage
def truncate_l1(image, rng, arg):
    """cut the file in the midst of the last cluster of the L1 table"""
    place, entries = image.l1_place()
    before = (8 * entries - 1) // image.cluster_size * image.cluster_size
    return cut_within(image, rng, place + before, 8 * entries - before, "l1.truncated")


@damage
def truncate_refblock(image, rng, arg):
    """cut the file in the midst of its last refcount block"""
    block = max(e & REFTABLE_MASK for e in image.reftable())
    return cut_within(image, rng, block, image.cluster_size, "refblock.truncated")


@damage
def garbage(image, rng, arg):
    """overwrite ARG (64) bytes somewhere behind the header with random bytes"""
    size = number(arg, 64)
    image.write(rng.randrange(image.header_length, max(image.length - size, image.header_length + 1)),
                rng.randbytes(size))
    return ["compressed.payload?", "l2.lost?", "refblock.garbage?"]


@damage
def zeros(image, rng, arg):
    """overwrite ARG (4096) bytes somewhere behind the first cluster with zeros"""
    image.write(rng.randrange(image.cluster_size, image.length), bytes(number(arg, 4096)))
    return ["compressed.payload?", "l2.lost?", "refblock.garbage?"]


def data_file(image):
    name = image.extension(qcow2.EXT_DATA_FILE).data.decode()
    return os.path.join(os.path.dirname(image.path), name)


@damage
def data_file_lost(image, rng, arg):
    """remove the external data file"""
    os.unlink(data_file(image))
    return ["data-file.missing"]


@damage
def data_file_truncated(image, rng, arg):
    """cut the external data file before its last cluster in use"""
    last = max(image.entries("normal", "zero-alloc"), key=lambda e: e.host).host
    os.truncate(data_file(image), last - rng.randrange(2) * image.cluster_size)
    return ["data-file.past-end"]


@damage
def backing_lost(image, rng, arg):
    """remove the backing file"""
    name = image.backing_name().decode()
    if not name:
        raise Unsuitable("the image has no backing file")
    os.unlink(os.path.join(os.path.dirname(image.path), name))
    return ["backing.missing"]
