"""Damages of the refcount table and its blocks."""

from damages import damage, log_lines, number, pick
from damages.mapping import far_away
from damages.overlaps import point, stored_here
from qcow2 import COMPRESSION, COPIED, REFTABLE_MASK, Unsuitable, align


def used_clusters(image, wanted=lambda refcount: refcount > 0):
    last = align(image.length, image.cluster_size) // image.cluster_size
    return [c for c in range(last) if wanted(image.refcount(c))]


def used_reftable(image, rng):
    """(index, entry) of a refcount table entry whose block counts something."""
    return pick(rng, [(i, e) for i, e in enumerate(image.reftable()) if 0 < e & REFTABLE_MASK < image.length
                      and any(image.read(e & REFTABLE_MASK, image.cluster_size))], "refcount block")


@damage
def refcount_zero(image, rng, arg):
    """write refcount 0 for ARG (1) clusters in use"""
    victims = used_clusters(image)
    for cluster in rng.sample(victims, min(number(arg, 1), len(victims))):
        image.set_refcount(cluster, 0)
    return ["refcount.low"]


@damage
def refcount_low(image, rng, arg):
    """write refcount 1 for a cluster that has more references"""
    image.set_refcount(pick(rng, used_clusters(image, lambda n: n > 1), "shared cluster"), 1)
    return ["refcount.low"]


@damage
def refcount_high(image, rng, arg):
    """raise the refcounts of ARG (1) clusters in use by one"""
    most = (1 << image.refcount_bits) - 1
    victims = used_clusters(image, lambda n: 0 < n < most)
    for cluster in rng.sample(victims, min(number(arg, 1), len(victims))) or [pick(rng, victims, "refcount to raise")]:
        image.add_refcount(cluster, 1)
    return ["refcount.leak"]


@damage
def refcount_max(image, rng, arg):
    """write the highest possible refcount for a cluster in use"""
    most = (1 << image.refcount_bits) - 1
    image.set_refcount(pick(rng, used_clusters(image, lambda n: 0 < n < most), "refcount to raise"), most)
    return ["refcount.leak"]


@damage
def refcount_leak(image, rng, arg):
    """allocate ARG (1 to 5) clusters that nobody uses"""
    image.append(number(arg, rng.randrange(1, 6)))
    return ["refcount.leak"]


@damage
def refcount_overflow(image, rng, arg):
    """refer to one cluster more often than a refcount can tell"""
    most = (1 << image.refcount_bits) - 1
    entries = stored_here(image).entries("normal")
    if len(entries) <= most:
        raise Unsuitable("not enough data clusters for an overflow")
    victims = rng.sample(entries, most + 1)
    for entry in victims[1:]:
        point(image, entry, victims[0].host)
    image.set_refcount(victims[0].host // image.cluster_size, most)
    return ["refcount.overflow"]


@damage
def refcount_past_end(image, rng, arg):
    """write a refcount for a cluster past the end of the file"""
    first = align(image.length, image.cluster_size) // image.cluster_size
    block = max(i for i, e in enumerate(image.reftable()) if e)
    image.set_refcount(pick(rng, range(max(first, block * image.block_entries), (block + 1) * image.block_entries),
                            "refcount past the end"), 1)
    return ["refcount.past-end"]


@damage
def reftable_reserved(image, rng, arg):
    """set a reserved bit of a refcount table entry"""
    index, entry = used_reftable(image, rng)
    image.put(image.reftable_at(index), entry | 1 << rng.randrange(9))
    return ["reftable.reserved"]


@damage
def reftable_unaligned(image, rng, arg):
    """let a refcount table entry point into the midst of a cluster"""
    if image.cluster_size == 512:
        raise Unsuitable("with clusters of 512 bytes the bits between are reserved")
    index, entry = used_reftable(image, rng)
    image.put(image.reftable_at(index), entry + 512 * rng.randrange(1, image.cluster_size // 512))
    return ["reftable.unaligned"]


@damage
def reftable_past_end(image, rng, arg):
    """let a refcount table entry point past the end of the file"""
    index, _ = used_reftable(image, rng)
    image.put(image.reftable_at(index), far_away(image, rng))
    return ["reftable.past-end"]


@damage
def reftable_empty_past_end(image, rng, arg):
    """let an empty refcount table entry point past the end of the file"""
    index = pick(rng, [i for i, e in enumerate(image.reftable()) if not e], "empty refcount table entry")
    image.put(image.reftable_at(index), far_away(image, rng))
    return ["reftable.past-end"]


@damage
def reftable_zeroed(image, rng, arg):
    """zero a refcount table entry in use"""
    index, _ = used_reftable(image, rng)
    image.put(image.reftable_at(index), 0)
    return ["refcount.low"]


@damage
def reftable_dup(image, rng, arg):
    """let two refcount table entries share a refcount block"""
    _, entry = used_reftable(image, rng)
    index = pick(rng, [i for i, e in enumerate(image.reftable()) if e != entry], "second refcount table entry")
    image.put(image.reftable_at(index), entry)
    return ["refcount.overflow" if image.refcount_bits == 1 else "reftable.shared"]


@damage
def reftable_on_data(image, rng, arg):
    """let a refcount table entry take a data cluster for its refcount block"""
    index = pick(rng, range(len(image.reftable())), "refcount table entry")
    image.put(image.reftable_at(index), pick(rng, stored_here(image).entries("normal"), "data cluster").host)
    return ["refcount.overflow" if image.refcount_bits == 1 else "reftable.shared"]


@damage
def reftable_garbage(image, rng, arg):
    """overwrite the refcount table with random bytes"""
    size = image["refcount_table_clusters"] * image.cluster_size
    image.write(image["refcount_table_offset"], b"\xff" * 8 + rng.randbytes(size - 8))
    return ["reftable.reserved"]


@damage
def refblock_zeroed(image, rng, arg):
    """overwrite a refcount block with zeros"""
    _, entry = used_reftable(image, rng)
    image.write(entry & REFTABLE_MASK, bytes(image.cluster_size))
    return ["refcount.low"]


@damage
def refblock_garbage(image, rng, arg):
    """overwrite a refcount block with random bytes"""
    _, entry = used_reftable(image, rng)
    image.write(entry & REFTABLE_MASK, rng.randbytes(image.cluster_size))
    return ["refblock.garbage?"]


@damage
def refblock_text(image, rng, arg):
    """overwrite a refcount block with log lines of a guest"""
    _, entry = used_reftable(image, rng)
    image.write(entry & REFTABLE_MASK, log_lines(image.cluster_size))
    return ["refblock.garbage"] if image.refcount_bits >= 16 else []


@damage
def refblock_ones(image, rng, arg):
    """overwrite the first three quarters of a refcount block with 0xff"""
    _, entry = used_reftable(image, rng)
    image.write(entry & REFTABLE_MASK, b"\xff" * (image.cluster_size * 3 // 4))
    deflated = not image["incompatible_features"] & COMPRESSION
    pieces = min(image.cluster_size // 8, 1032 if deflated else 1 << 15) + 2  # of a state's data in one cluster, at most
    return ["refblock.garbage"] if 1 << image.refcount_bits > pieces * (image["nb_snapshots"] + 1) + 1 else []


@damage
def refcount_and_copied(image, rng, arg):
    """raise the refcount of a data cluster and clear its COPIED flag, as if a snapshot had been lost"""
    entry = pick(rng, [e for e in stored_here(image).entries("normal") if e.value & COPIED], "cluster with COPIED")
    if image.refcount_bits == 1:
        raise Unsuitable("the refcounts are too narrow")
    image.add_refcount(entry.host // image.cluster_size, 1)
    image.put(entry.at, entry.value & ~COPIED)
    return ["refcount.leak"]
