"""Clusters that are used twice. Where a name says `matching`, refcounts and COPIED agree with the mapping afterwards, so
that a check that only compares numbers finds nothing."""

import recount
from damages import damage, pick
from damages.compressed import descriptor
from qcow2 import COPIED, OFFSET_MASK, Unsuitable


def stored_here(image):
    if image.external_data:
        raise Unsuitable("guest data lies in another file")
    return image


def two_entries(image, rng):
    """Two active L2 entries whose clusters differ."""
    entries = stored_here(image).entries("normal")
    one = pick(rng, entries, "data cluster")
    return one, pick(rng, [e for e in entries if e.host != one.host], "second data cluster")


def point(image, entry, host):
    image.put(entry.at, entry.value & ~OFFSET_MASK | host)


def room_for(image, references):
    if references > (1 << image.refcount_bits) - 1:
        raise Unsuitable("the refcounts are too narrow")


@damage
def l2_dup(image, rng, arg):
    """let two L2 entries share a cluster, refcounts as they were"""
    one, other = two_entries(image, rng)
    point(image, other, one.host)
    full = image.refcount(one.host // image.cluster_size) == (1 << image.refcount_bits) - 1
    return ["cluster.reuse", "refcount.overflow" if full else "refcount.low"]


@damage
def l2_dup_matching(image, rng, arg):
    """let two active L2 entries share a cluster, with matching refcounts"""
    one, other = two_entries(image, rng)
    room_for(image, image.refcount(one.host // image.cluster_size) + 1)
    point(image, other, one.host)
    recount.match(image)
    return ["cluster.reuse"]


@damage
def l1_dup_matching(image, rng, arg):
    """let two L1 entries share an L2 table, with matching refcounts"""
    tables = image.l2_tables()
    one = pick(rng, [t for t in tables if any(e.has_cluster for e in image.l2_entries_of(t[1]))], "L2 table with data")
    other = pick(rng, [t for t in tables if t != one], "second L2 table")
    room_for(image, 2 + len(image.snapshots()))
    image.put(image.l1_at(other[0]), one[1])
    recount.match(image)
    return ["metadata.overlap", "cluster.reuse"]


@damage
def data_on_metadata(image, rng, arg):
    """let an L2 entry point at metadata (ARG: reftable, l1, l2, snapshot-table, ...), refcounts as they were"""
    entry, place = victim_and_metadata(image, rng, arg)
    point(image, entry, place)
    return ["cluster.on-metadata"]


@damage
def data_on_metadata_matching(image, rng, arg):
    """the same with matching refcounts"""
    entry, place = victim_and_metadata(image, rng, arg)
    room_for(image, image.refcount(place // image.cluster_size) + 1)
    point(image, entry, place)
    recount.match(image)
    return ["cluster.on-metadata"]


def victim_and_metadata(image, rng, arg):
    entries = stored_here(image).entries("normal")
    entry = pick(rng, entries, "data cluster")
    places = [(name, offset + rng.randrange(0, max(size, 1), image.cluster_size))
              for name, offset, size in recount.metadata(image) if offset and arg in (None, name)]
    _, place = pick(rng, places, f"metadata ({arg})")
    return entry, place


@damage
def data_on_header(image, rng, arg):
    """let a compressed cluster lie in the header, with matching refcounts (a plain one can't: offset 0 says nothing)"""
    entry = pick(rng, stored_here(image).entries("normal"), "data cluster")
    room_for(image, 2)
    image.put(entry.at, descriptor(image, rng.randrange(1, 512)))
    if image.extended_l2:
        image.put(entry.at + 8, 0)
    recount.match(image)
    return ["cluster.compressed-overlap", "compressed.payload?"]


@damage
def compressed_on_data(image, rng, arg):
    """let a compressed cluster lie within a data cluster, with matching refcounts"""
    one, other = two_entries(image, rng)
    room_for(image, image.refcount(one.host // image.cluster_size) + 1)
    image.put(other.at, descriptor(image, one.host + rng.randrange(image.cluster_size - 512 or 1)))
    if image.extended_l2:
        image.put(other.at + 8, 0)
    recount.match(image)
    return ["cluster.compressed-overlap", "compressed.payload?"]


@damage
def l1_on_metadata(image, rng, arg):
    """let an L1 entry take other metadata (ARG: reftable, l1, refblock, ...) for its L2 table, refcounts as they were"""
    l1_index, _ = pick(rng, image.l2_tables(), "L2 table")
    places = [(name, place) for name, place, _ in recount.metadata(image)
              if place and name not in ("l2", "snapshot-l2") and arg in (None, name)]
    name, place = pick(rng, places, f"metadata ({arg})")
    image.put(image.l1_at(l1_index), place | COPIED)
    itself = name == "l1" and not image.external_data  # the L1 table refers to itself then
    return [("cluster.on-metadata" if itself else "metadata.overlap") + "|l1.no-table"]


@damage
def l1_on_data(image, rng, arg):
    """let an L1 entry take a data cluster for its L2 table, refcounts as they were"""
    l1_index, table = pick(rng, image.l2_tables(), "L2 table")
    others = [e for e in stored_here(image).entries("normal") if e.l1_index != l1_index]
    image.put(image.l1_at(l1_index), pick(rng, others, "data cluster of another L2 table").host | COPIED)
    return ["cluster.on-metadata|l1.no-table"]


@damage
def snapshot_on_active_l1(image, rng, arg):
    """let a snapshot share the L1 table of the active disk, with matching refcounts"""
    number = pick(rng, range(len(image.snapshots())), "snapshot")
    room_for(image, 2 + len(image.snapshots()))
    place, entries = image.l1_place()
    image.put_snapshot_field(number, "l1_table_offset", place)
    image.put_snapshot_field(number, "l1_size", entries)
    recount.match(image)
    return ["metadata.overlap"]
