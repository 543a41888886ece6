"""Damages after which a repair has lost data once, each with the recipe of an image that it is done to.

A function writes into the image; one that yields has done until then what the guest has written. Its documentation says
what is to be learnt from it. Those of refcounts are in lost_counts.py.
"""

import random

import qcow2
from cases import CASES, COMPRESSED, COPIED, DATA_FILE, EXTENDED, PLAIN, SHARED, TINY, WITH_PACKED, case


@case(DATA_FILE.format(raw=""))
def data_file_l1_zeroed(image):
    """the lost L2 table is the only record of where the data is"""
    image.put(image.l1_at(2), 0)


@case(DATA_FILE.format(raw="data_file_raw=on"))
def data_file_raw_l1_zeroed(image):
    image.put(image.l1_at(2), 0)


@case(SHARED)
def snapshot_l1_without_offset(image):
    """the table is shared with the active state: its clusters keep the refcount that counts the snapshot"""
    image.put(image.l1_at(2, 0), COPIED)


@case(SHARED)
def snapshot_l1_zeroed(image):
    image.put(image.l1_at(2, 0), 0)


@case(SHARED)
def active_l1_without_offset(image):
    image.put(image.l1_at(2), COPIED)


@case(SHARED)
def l1_names_the_older_table(image):
    """the write of the L1 entry was lost: the newer table has data of its own"""
    image.put(image.l1_at(0), image.get(image.l1_at(0, 0)))


@case(SHARED)
def l1_names_the_older_table_with_copied(image):
    image.put(image.l1_at(0), image.get(image.l1_at(0, 0)) | COPIED)


@case(SHARED)
def l1_reserved_and_snapshot_table(image):
    image.put(image.l1_at(2), 1 << 60 | image["snapshots_offset"])


BITMAPS = """
create size=6M cluster_size=4k
write 0 40k pattern=0x11
bitmap one granularity=512
write 64k 12k noise=2
"""


@case(BITMAPS)
def bitmaps_of_another_size(image):
    """the virtual size is what is wrong, and they are right"""
    image["size"] = 1 << 63 | image["size"]


@case(BITMAPS)
def bitmaps_extension_reserved(image):
    """a sound directory proves the extension"""
    image.put(image.extension(qcow2.EXT_BITMAPS).at + 4, 1 << 28, 4)


PACKED = """
create size=6M cluster_size=4k
compressed-write 0 64k noise=1
snapshot one
write 3M 4k pattern=0x12
"""


@case(PACKED)
def number_of_snapshots_zeroed(image):
    """the header still leads to them, and what data leaves behind that shared a cluster may be theirs"""
    packed = image.entries("compressed", state=0)[10]
    image["nb_snapshots"] = 0
    image.put(image.l2_at(image.l2_tables()[0][1], 100), packed.host & -image.cluster_size)


def guest_wrote(image, words):
    """A cluster of the guest's data that holds these numbers."""
    victim = image.entries("normal")[20].host
    image.write(victim, b"".join(words[i % len(words)].to_bytes(8, "big") for i in range(image.cluster_size // 8)))
    return victim


@case(PLAIN)
def l1_names_data(image):
    """mending COPIED must not write into the guest's data"""
    rng = random.Random(17)
    victim = guest_wrote(image, [rng.getrandbits(64) for _ in range(512)])
    yield "now"
    image.put(image.l1_at(2), COPIED | victim)


@case(PLAIN)
def l1_names_data_like_a_table(image):
    victim = guest_wrote(image, [e.host | COPIED for e in image.entries("normal")[:64]])
    yield "now"
    image.put(image.l1_at(2), COPIED | victim)


@case(PLAIN)
def l1_names_data_with_numbers(image):
    """the guest's file has numbers that could be entries"""
    victim = guest_wrote(image, list(range(0, 1 << 21, 4096)))
    yield "now"
    image.put(image.l1_at(2), victim)


@case(PLAIN)
def l1_names_data_with_compressed_words(image):
    """compressed data isn't moved for what is no table"""
    victim = guest_wrote(image, [qcow2.COMPRESSED | COPIED | e.host for e in image.entries("normal")[:32]])
    yield "now"
    image.put(image.l1_at(2), victim)


def bit_and_hole(name, bit, hole):
    @case(TINY)
    def tiny(image):
        """the bit of an L1 entry is mended, and the data of the zeroed L2 entry is no free space afterwards"""
        entries = image.entries("normal")
        table = entries[hole].l1_index
        image.put(image.l1_at(table), image.get(image.l1_at(table)) | bit)
        image.put(entries[hole].at, 0)
    CASES[-1] = (name, *CASES[-1][1:])


bit_and_hole("l1-bit-and-first-l2-zeroed", 4, 64)
bit_and_hole("l1-bit-and-last-l2-zeroed", 1 << 57, 127)
bit_and_hole("l1-bit-and-very-first-l2-zeroed", 1 << 61, 0)
bit_and_hole("l1-bit-and-last-of-few-l2-zeroed", 4, 197)
bit_and_hole("l1-bit-and-first-of-few-l2-zeroed", 4, 192)


@case(TINY)
def bit_elsewhere_and_l2_zeroed(image):
    entries = image.entries("normal")
    image.put(image.l1_at(0), image.get(image.l1_at(0)) | 4)
    image.put(entries[197].at, 0)


@case(TINY)
def l2_bit_and_l2_zeroed(image):
    entries = image.entries("normal")
    image.put(entries[9].at, entries[9].value | 1 << 58)
    image.put(entries[197].at, 0)


@case(TINY)
def only_l2_zeroed(image):
    image.put(image.entries("normal")[197].at, 0)


def empty_extended(name, entry, bitmap=0):
    @case(EXTENDED)
    def empty(image):
        """a range that can be read still can be afterwards"""
        at = image.l2_at(image.l2_tables()[0][1], 80)
        image.put(at, entry)
        image.put(at + 8, bitmap)
    CASES[-1] = (name, *CASES[-1][1:])


empty_extended("reserved-bit-in-an-empty-extended-entry", 4)
empty_extended("high-bit-in-an-empty-extended-entry", 1 << 58)
empty_extended("zero-bit-in-an-empty-extended-entry", 1)
empty_extended("copied-in-an-empty-extended-entry", COPIED)
empty_extended("compressed-in-an-empty-extended-entry", qcow2.COMPRESSED)
empty_extended("reserved-bit-and-zero-subclusters", 1 << 61, 0xFF00_FFFF << 32)
empty_extended("garbled-offset-and-zero-subclusters", 1 << 12, 0xFF00_FFFF << 32)


def id_length(name, recipe, size):
    @case(recipe)
    def length(image):
        """a state that can be read isn't given up"""
        image.put_snapshot_field(0, "id_size", size)
    CASES[-1] = (name, *CASES[-1][1:])


for size in (0, 2, 4, 9, 40, 200, 4097, 65535):
    id_length(f"snapshot-id-length-{size}", SHARED, size)
    id_length(f"first-snapshot-id-length-{size}", SHARED + "snapshot two\nwrite 4M 4k pattern=0x14\n", size)


# As programs wrote it that didn't record the disk's size: then nothing says how long a snapshot's L1 table is.
OLD = """
create size=8M cluster_size=4k compat=0.10
write 0 64k pattern=0x11
write 7M 8k pattern=0x12
snapshot one
write 0 8k pattern=0x13
"""


def old_entry(image):
    snapshot, = image.snapshots()
    snapshot.extra = b""
    image.set_snapshots([snapshot])


@case(OLD)
def snapshot_l1_size(image):
    """what lies behind the end of its L1 table may be the snapshot's all the same"""
    old_entry(image)
    yield "now"
    image.put_snapshot_field(0, "l1_size", 3)


@case(OLD.replace("0.10", "1.1"))
def incomplete_snapshot_l1_size(image):
    old_entry(image)
    yield "now"
    image.put_snapshot_field(0, "l1_size", 3)


@case("""
create size=8M cluster_size=4k
write 0 64k pattern=0x11
vm-state 0 8k pattern=0x12
snapshot one
write 0 8k pattern=0x13
""")
def snapshot_l1_size_and_vm_state(image):
    image.put_snapshot_field(0, "vm_state_size", 8192)
    image.put_snapshot_field(0, "vm_state_size_large", 8192)
    yield "now"
    image.put_snapshot_field(0, "l1_size", 4)


@case("""
create size=32M cluster_size=4k
write 0 40k pattern=0x11
bitmap one granularity=512
write 64k 16k noise=2
write 20M 8k pattern=0x12
""")
def stale_bitmap_given_back(image):
    """what bitmaps once had may be the guest's now"""
    _, _, _, directory = image.bitmaps_header()
    bitmap, = image.bitmaps()
    data = [word for word in image.table(bitmap.table_offset, bitmap.table_size) if word & qcow2.OFFSET_MASK]
    for place in [directory, bitmap.table_offset, *data]:
        image.set_refcount(place // image.cluster_size, 0)
    image["autoclear_features"] = 0
    last = image.entries("normal")[-1]
    for k, place in enumerate(data):
        image.write(place, random.Random(k).randbytes(image.cluster_size))
        image.put(last.at + 8 * (3 * k + 3), place | COPIED)
        image.set_refcount(place // image.cluster_size, 1)
    yield "now"
    image.put(last.at + 8 * 3, 0)


@case(WITH_PACKED.format("pattern=0x11", "noise=2"))
def compressed_overlap_and_l1_zeroed(image):
    """of packed data the count is believed only if nothing else looks lost"""
    packed = image.entries("compressed", state=0)[-1].host
    written = next(e for e in image.entries("normal") if e.guest < 1 << 20)
    image.put(written.at, COPIED | packed // image.cluster_size * image.cluster_size)
    image.put(image.l1_at(1), 0)


@case("""
create size=1M cluster_size=4k
write 0 16k pattern=0x11
snapshot one
write 8k 8k pattern=0x12
""")
def snapshot_name_length_and_l1_zeroed(image):
    """by a wrong length the table ends somewhere else: what is there isn't free"""
    image.put_snapshot_field(0, "name_size", 0x9c96)
    image.put(image.l1_at(0), 0)


@case(WITH_PACKED.format("noise=2", "pattern=0x11"))
def compressed_length_and_l1_garbled(image):
    """data that was packed doesn't take along the reference of a table that its wrong length reaches"""
    table = image.l2_tables(0)[1][1]
    entry = next(e for e in image.entries("compressed", state=0) if e.host // 4096 == table // 4096 - 1)
    image.put(entry.at, entry.value | 12 << 58)
    image.put(image.l1_at(1), table + 4096)


@case(SHARED)
def snapshot_l1_garbled_and_shared_table(image):
    """no copy of a table is made that nothing will lead to: the file would grow with each run"""
    at = image.l1_at(0, 0)
    image.put(at, 0x8000080000004000)
    image.put(at + 8, COPIED | image.l1_entries()[0])
    image.put(at + 16, 0x80)
    image.put(at + 24, 0x1A000)


@case("""
create size=32M cluster_size=16k extended_l2=on
write 0 160k pattern=0x11
snapshot one
write 0 64k pattern=0x12
""")
def l1_and_snapshot_table_exchanged(image):
    """each reads as the other"""
    tables = image["l1_table_offset"], image["snapshots_offset"]
    image["snapshots_offset"], image["l1_table_offset"] = tables


@case("""
create size=6M cluster_size=4k data_file=data.raw
write 0 6M pattern=0x11
""")
def l1_size_over_a_lost_l2_table(image):
    """COPIED isn't cleared in what seems to be L1 entries behind the disk's end"""
    image.put(image.l1_at(0), 0)
    image.set_refcount(5, 257)
    image["l1_size"] = 512 + 3


@case(SHARED)
def empty_snapshot_l1_as_l2_table(image):
    """a snapshot that says it has no L1 entries still has its table: nothing is written there as into an L2 table"""
    at, _ = image.l1_place(0)
    image.put_snapshot_field(0, "l1_size", 0)
    image.put(at + 128, COPIED | image.entries("normal")[3].host)
    image.put(image.l1_at(1), at)


@case(SHARED)
def lost_snapshot_l1_as_l2_table(image):
    """nor into one whose snapshot has its place wrong"""
    at, _ = image.l1_place(0)
    image.put_snapshot_field(0, "l1_table_offset", 1 << 60)
    image.put(image.l1_at(1), COPIED | at)


@case(SHARED)
def l1_entries_of_two_states_exchanged(image):
    """an L2 table whose data another one names at the same places may be a snapshot's, if no refcount speaks against it"""
    ours, theirs = image.l1_at(3), image.l1_at(0, 0)
    for at, entry in (theirs, image.get(ours)), (ours, image.get(theirs)):
        image.put(at, entry)
    image["refcount_table_offset"] = image.entries("normal")[5].host
    image["crypt_method"] = 1 << 28


@case(SHARED + "snapshot two\nwrite 8k 4k pattern=0x16\nsnapshot three\n")
def l1_entry_exchanged_and_l2_garbled(image):
    """nor gets such a table a copy, or one of three versions copies of its data: the next run would see less doubt"""
    image.put(image.l1_at(1, 1), image.get(image.l1_at(0)))
    image.put(image.l1_at(0), 0)
    image.put((image.get(image.l1_at(0, 0)) & qcow2.OFFSET_MASK) + 8 * 8, image.entries("normal")[-1].host)
