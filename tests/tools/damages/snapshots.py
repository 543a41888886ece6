"""Damages of the snapshot table and of the snapshots' own L1 and L2 tables."""

import struct

from damages import damage, number, pick
from qcow2 import COPIED, Snapshot, Unsuitable, align


def one_of(image, rng):
    return pick(rng, range(len(image.snapshots())), "snapshot")


def label(image):
    """The extra data that every version 3 entry has: VM state size, disk size, icount."""
    return struct.pack(">QQQ", 0, image["size"], (1 << 64) - 1)


@damage
def snapshot_table_unaligned(image, rng, arg):
    """let the snapshot table begin in the midst of a cluster"""
    one_of(image, rng)
    image["snapshots_offset"] += number(arg, rng.randrange(8, 512, 8))
    return ["snapshot.table"]


@damage
def snapshot_table_past_end(image, rng, arg):
    """let the snapshot table lie past the end of the file"""
    one_of(image, rng)
    image["snapshots_offset"] = align(image.length, image.cluster_size) + image.cluster_size * rng.randrange(1, 99)
    return ["snapshot.table"]


@damage
def snapshot_count(image, rng, arg):
    """write a number of ARG (70000) snapshots"""
    image["nb_snapshots"] = number(arg, 70000)
    return ["snapshot.table"]


@damage
def snapshot_count_more(image, rng, arg):
    """claim one snapshot more than there is: its entry is all zeros"""
    one_of(image, rng)
    image["nb_snapshots"] += 1
    return ["snapshot.entry"]


@damage
def snapshot_id_length(image, rng, arg):
    """claim a snapshot ID of 65535 bytes"""
    victim = one_of(image, rng)
    image.put_snapshot_field(victim, "id_size", number(arg, 65535))
    return ["snapshot.entry|snapshot.table"] if image.snapshots()[victim].at + number(arg, 65535) > image.length else []


@damage
def snapshot_extra_large(image, rng, arg):
    """claim ARG (2000) bytes of extra data"""
    image.put_snapshot_field(one_of(image, rng), "extra_size", number(arg, 2000))
    return ["snapshot.extra-data"]


@damage
def snapshot_extra_short(image, rng, arg):
    """give a snapshot of a version 3 image only ARG (0) bytes of extra data"""
    if image.version < 3:
        raise Unsuitable("in version 2 extra data may be short")
    snapshots, victim = image.snapshots(), one_of(image, rng)
    snapshots[victim].extra = snapshots[victim].extra[:number(arg, 0)]
    image.set_snapshots(snapshots)
    return ["snapshot.incomplete"]


@damage
def snapshot_duplicate_id(image, rng, arg):
    """give two snapshots the same ID"""
    snapshots = image.snapshots()
    if len(snapshots) < 2:
        raise Unsuitable("the image has less than two snapshots")
    one, other = rng.sample(range(len(snapshots)), 2)
    snapshots[other].id = snapshots[one].id
    image.set_snapshots(snapshots)
    return ["snapshot.duplicate-id"]


@damage
def snapshot_size_zero(image, rng, arg):
    """record a disk size of 0 for a snapshot that maps data"""
    victims = [i for i, s in enumerate(image.snapshots())
               if len(s.extra) >= 16 and not s.vm_state_size and image.entries(state=i)]
    image.put_snapshot_field(pick(rng, victims, "snapshot with data and a disk size"), "disk_size", 0)
    return ["snapshot.size-zero"]


@damage
def snapshot_l1_unaligned(image, rng, arg):
    """let a snapshot's L1 table begin in the midst of a cluster"""
    victim = one_of(image, rng)
    place, _ = image.l1_place(victim)
    image.put_snapshot_field(victim, "l1_table_offset", place + number(arg, rng.randrange(8, 512, 8)))
    return ["snapshot.l1-unaligned"]


@damage
def snapshot_l1_size(image, rng, arg):
    """claim ARG (over four million) entries for a snapshot's L1 table"""
    image.put_snapshot_field(one_of(image, rng), "l1_size", number(arg, (32 << 20) // 8 + 1))
    return ["snapshot.l1-size"]


@damage
def snapshot_l1_past_end(image, rng, arg):
    """let a snapshot's L1 table lie past the end of the file"""
    place = align(image.length, image.cluster_size) + image.cluster_size * rng.randrange(1, 99)
    image.put_snapshot_field(one_of(image, rng), "l1_table_offset", place)
    return ["snapshot.l1-past-end"]


@damage
def snapshot_l1_short(image, rng, arg):
    """record a disk size that the snapshot's L1 table is too short for"""
    victims = [i for i, s in enumerate(image.snapshots()) if len(s.extra) >= 16]
    victim = pick(rng, victims, "snapshot with a disk size")
    _, entries = image.l1_place(victim)
    image.put_snapshot_field(victim, "disk_size", (entries + 1) * image.l2_entries * image.cluster_size)
    return ["snapshot.l1-short"]


@damage
def snapshot_data_file(image, rng, arg):
    """give an image with an external data file a snapshot"""
    if not image.external_data:
        raise Unsuitable("the image has no external data file")
    image.set_snapshots([Snapshot(0, image.append(), 1, b"1", b"impossible", (1700000000, 0), 0, 0, label(image))])
    return ["snapshot.data-file"]


@damage
def snapshot_l1_zeroed(image, rng, arg):
    """zero a snapshot's L1 table"""
    victim = pick(rng, [i for i in range(len(image.snapshots())) if image.l2_tables(i)], "snapshot with data")
    place, entries = image.l1_place(victim)
    image.write(place, bytes(8 * entries))
    return ["refcount.leak", "l2.lost?", "snapshot.table?"]


@damage
def snapshot_l1_garbage(image, rng, arg):
    """overwrite a snapshot's L1 table with random bytes"""
    place, entries = image.l1_place(one_of(image, rng))
    image.write(place, rng.randbytes(8 * entries - 8) + b"\x7e" * 8)
    return ["l1.reserved"]


def own_table(image, rng):
    """(snapshot, L1 index, L2 table) that the active disk does not share."""
    active = {table for _, table in image.l2_tables()}
    return pick(rng, [(s, i, t) for s in range(len(image.snapshots())) for i, t in image.l2_tables(s)
                      if t not in active], "L2 table of a snapshot's own")


@damage
def snapshot_l2_unaligned(image, rng, arg):
    """let an L2 entry that only a snapshot has point into the midst of a cluster"""
    _, _, table = own_table(image, rng)
    if image.cluster_size == 512:
        raise Unsuitable("with clusters of 512 bytes the bits between are reserved")
    entry = pick(rng, [e for e in image.l2_entries_of(table) if e.has_cluster], "data cluster")
    image.put(entry.at, entry.value + 512 * rng.randrange(1, image.cluster_size // 512))
    return ["l2.unaligned"]


@damage
def snapshot_l2_zeroed(image, rng, arg):
    """zero an L2 table that only a snapshot has"""
    _, _, table = own_table(image, rng)
    image.write(table, bytes(image.cluster_size))
    return ["refcount.leak"]


@damage
def snapshot_l1_past_end_entry(image, rng, arg):
    """let an L1 entry of a snapshot point past the end of the file"""
    victim, l1_index, _ = own_table(image, rng)
    place = align(image.length, image.cluster_size) + image.cluster_size * rng.randrange(1, 99)
    image.put(image.l1_at(l1_index, victim), place | COPIED)
    return ["l1.past-end"]


@damage
def snapshot_lost(image, rng, arg):
    """forget the last snapshot, its clusters not freed"""
    one_of(image, rng)
    image["nb_snapshots"] -= 1
    return ["refcount.leak", "l2.lost?", "snapshot.table?"]
