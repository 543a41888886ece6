"""Damages after which a repair has lost data once, each with the recipe of an image that it is done to.

A function writes into the image; one that yields has done until then what the guest has written. Its documentation says
what is to be learnt from it. Here: refcounts, and their table and blocks.
"""

import random

import qcow2
from cases import COPIED, SHARED, SMALL, case


@case(SMALL)
def l1_reserved_and_reftable(image):
    """garbage by the rules of entries: but the refcount table mustn't be moved away from under it"""
    image.put(image.l1_at(2), 1 << 62 | image["refcount_table_offset"])


@case(SMALL)
def l1_reserved_and_refblock(image):
    image.put(image.l1_at(2), 1 << 62 | image.reftable()[0])


@case(SMALL)
def l1_names_reftable(image):
    image.put(image.l1_at(2), COPIED | image["refcount_table_offset"])


@case(SHARED)
def spare_reftable_entry_names_shared_data(image):
    """nothing but the garbled entry was a refcount block there: with it, no reference goes that was one"""
    shared = image.entries("normal", state=0)[1]
    image.put(image["refcount_table_offset"] + 16, shared.host)
    image.put(image.l1_at(0, 0), 0)


@case(SHARED)
def refcount_table_over_a_snapshots_table(image):
    """it maps the refcount block, which is then made anew: its values tell of what else the table has mapped"""
    table, target = image["refcount_table_offset"], image.get(image.l1_at(0, 0)) & qcow2.OFFSET_MASK
    image.write(target, image.read(table, 4096))


@case(SHARED)
def snapshots_entry_names_the_refcount_block(image):
    shared = image.entries("normal", state=0)[1]
    image.put(shared.at, image.reftable()[0])


@case(SHARED)
def snapshot_and_refcount_table_exchanged(image):
    """what lies there is none, and is written to by nobody"""
    names = ("refcount_table_offset", "snapshots_offset")
    image[names[0]], image[names[1]] = (image[name] for name in reversed(names))


@case(SMALL)
def refcount_table_offset_names_the_l1_table(image):
    names = ("refcount_table_offset", "l1_table_offset")
    image[names[0]], image[names[1]] = (image[name] for name in reversed(names))


ONES = """
create size=2M cluster_size=2k refcount_bits=4
write 0 32k pattern=0x11
snapshot one
write 0 32k pattern=0x13
"""


@case(ONES)
def data_that_reads_as_refcounts(image):
    """a block full of ones is a byte that the guest has written"""
    image.put(image["refcount_table_offset"], 0)
    image.put(image.l1_at(0, 0), 0)


NARROW = """
create size=6M cluster_size=4k refcount_bits=1
write 0 64k noise=1
write 3M 20k pattern=0x11
write 5M 8k noise=2
"""


@case(NARROW)
def refcount_table_names_lost_data(image):
    """what counts nothing but clusters behind the end of the file may be no block at all"""
    lost = image.entries("normal")[16]
    image.put(lost.at, 0)
    image.put(image.reftable_at(1), lost.host)


@case(NARROW)
def refcount_block_is_data_and_l1_noise(image):
    """a block knows of the header, of the refcount table and of itself"""
    data = image.entries("normal")[19].host
    image.write(image["l1_table_offset"], random.Random(3).randbytes(image.cluster_size))
    image.put(image.reftable_at(0), data)


@case(SMALL)
def refcount_table_in_lost_data(image):
    """most of its entries are none, so it isn't mended where it is"""
    data, table = image.entries("normal")[3].host, image.l2_tables()[0][1]
    image["refcount_table_offset"] = data
    image.write(table, bytes(image.cluster_size))


@case("""
create size=2M cluster_size=1k refcount_bits=64
write 0 60k pattern=0x11
snapshot one
write 3k 2k noise=1
snapshot two
write 1M 20k noise=1
""")
def snapshots_unread_and_refcount_table(image):
    """snapshots that can't be read have their references all the same"""
    image.write(image["snapshots_offset"], b"the quick brown fox jumps over the lazy dog" * 10)
    image.put(image.reftable_at(2), 1 << 40)


@case("""
create size=16M cluster_size=16k extended_l2=on
write 0 160k pattern=0x11
snapshot one
write 32k 16k pattern=0x12
""")
def refcount_block_half_damaged(image):
    """the half that is whole counts what the snapshot has lost"""
    block = image.reftable()[0]
    for at, garbage in ((128, 0x44000), (136, 0x8000), (168, 0x14000)):
        image.put(block + at, garbage)
    image.put(image.l1_at(0, 0), COPIED | image["refcount_table_offset"])


@case("""
create size=6M cluster_size=2k refcount_bits=4
write 0 64k pattern=0x11
snapshot one
write 8k 8k pattern=0x12
""")
def refcount_block_damaged_and_snapshot_without_tables(image):
    block = image.reftable()[0]
    image.put(block + 208, 0xA14A091B7669454B)
    image.put(image.reftable_at(1), 0x80)
    image.put_snapshot_field(0, "l1_size", 0)


@case("""
create size=6M cluster_size=2k refcount_bits=4
write 0 60k pattern=0xd0
write 60k 2k noise=5
""")
def refcount_block_is_data_that_counts_what_is_known(image):
    """a refcount block may be anything, also bytes that are high enough for all that is left to be seen"""
    data = image.entries("normal")[4].host
    image.put(image.reftable_at(0), data)
    noise = random.Random(1)
    for i in range(4):
        image.put(image.l1_at(i), noise.getrandbits(64))


@case("""
create size=8M cluster_size=4k
write 0 128k pattern=0x11
write 4M 4k pattern=0x12
bitmap one
""")
def refcount_block_is_text_and_l1_garbled(image):
    """all counts are too high then, and none is too low"""
    image.put(image.reftable_at(0), image.entries("normal")[4].host)
    image.put(image.l1_at(0), COPIED | image.entries("normal")[6].host)
    bitmaps = image.extension(qcow2.EXT_BITMAPS)
    directory = image.get(bitmaps.at + 16)
    image.put(directory, 0)  # the bitmap's table
    image.put(directory + 8, 0, 4)


@case("""
create size=1M cluster_size=1k refcount_bits=64
write 0 64k pattern=0x11
write 256k 3k pattern=0x12
""")
def refcount_block_is_a_lost_l2_table(image):
    """its few values are no refcounts, though nothing else is amiss"""
    index, table = image.l2_tables()[-1]
    image.put(image.reftable_at(0), table)
    image.put(image.l1_at(index), 0)


@case("""
create size=6M cluster_size=4k refcount_bits=8
write 0 64k pattern=0x11
""")
def refcount_block_is_text_and_data(image):
    """what it says of clusters behind the end doesn't let the file grow to where it ends"""
    block = image.reftable()[0]
    image.write(block, b"text" * 1024)
    image.put(image.entries("normal")[3].at, COPIED | block)
