"""Damages of files as a whole: truncation, overwritten stretches, files that went away."""

import os

import qcow2
from damages import damage, number, pick
from qcow2 import REFTABLE_MASK, Unsuitable, align


@damage
def truncate(image, rng, arg):
    """cut the file to ARG bytes"""
    image.truncate(number(arg))


@damage
def truncate_cluster(image, rng, arg):
    """cut the file at the end of some cluster of its second half"""
    clusters = align(image.length, image.cluster_size) // image.cluster_size
    image.truncate(pick(rng, range(clusters // 2, clusters - 1), "cluster to cut") * image.cluster_size)


@damage
def truncate_mid(image, rng, arg):
    """cut the file in the midst of some cluster of its second half"""
    clusters = align(image.length, image.cluster_size) // image.cluster_size
    cluster = pick(rng, range(clusters // 2, clusters - 1), "cluster to cut")
    image.truncate(cluster * image.cluster_size + rng.randrange(1, image.cluster_size))


@damage
def truncate_last(image, rng, arg):
    """cut off a part of the last cluster only"""
    start = align(image.length, image.cluster_size) - image.cluster_size
    if image.length - start < 2:
        raise Unsuitable("the last cluster has one byte only")
    image.truncate(start + rng.randrange(1, image.length - start))


def cut_within(image, rng, start, size):
    image.truncate(start + rng.randrange(1, size))


@damage
def truncate_l2(image, rng, arg):
    """cut the file in the midst of its last L2 table"""
    table = max((t for _, t in image.l2_tables()), default=None)
    cut_within(image, rng, pick(rng, [table] if table else [], "L2 table"), image.cluster_size)
    return ["l2.truncated"]


@damage
def truncate_l1(image, rng, arg):
    """cut the file in the midst of the L1 table"""
    place, entries = image.l1_place()
    cut_within(image, rng, place, 8 * entries)
    return ["l1.truncated"]


@damage
def truncate_refblock(image, rng, arg):
    """cut the file in the midst of its last refcount block"""
    block = max(e & REFTABLE_MASK for e in image.reftable())
    cut_within(image, rng, block, image.cluster_size)
    return ["refblock.truncated"]


@damage
def garbage(image, rng, arg):
    """overwrite ARG (64) bytes somewhere behind the header with random bytes"""
    size = number(arg, 64)
    image.write(rng.randrange(image.header_length, max(image.length - size, image.header_length + 1)),
                rng.randbytes(size))


@damage
def zeros(image, rng, arg):
    """overwrite ARG (4096) bytes somewhere behind the first cluster with zeros"""
    image.write(rng.randrange(image.cluster_size, image.length), bytes(number(arg, 4096)))


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
