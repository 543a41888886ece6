"""The images that damages of lost_once.py and lost_counts.py are done to, and their list."""

import qcow2

COPIED, COMPRESSED = qcow2.COPIED, qcow2.COMPRESSED
CASES = []  # (name, recipe, function)

PLAIN = """
create size=8M cluster_size=4k
write 0 1M pattern=0x11
write 4M 512k pattern=0x12
"""
# Little is lost at a time: a large loss looks like one, a small one like a write that was cut short.
SHARED = """
create size=8M cluster_size=4k
write 0 128k pattern=0x11
write 4M 4k pattern=0x12
snapshot one
write 0 4k pattern=0x13
write 64k 4k pattern=0x14
write 6M 4k pattern=0x15
"""
SMALL = """
create size=8M cluster_size=4k
write 0 128k pattern=0x11
write 4M 4k pattern=0x12
write 6M 4k pattern=0x13
"""
TINY = """
create size=1M cluster_size=512
write 0 96k pattern=0x11
write 512k 3k pattern=0x12
write 800k 3k pattern=0x12
"""
EXTENDED = """
create size=16M cluster_size=16k extended_l2=on
write 0 1M pattern=0x11
write 2M 64k pattern=0x12
"""
WITH_PACKED = """
create size=6M cluster_size=4k
compressed-write 0 64k noise=1
compressed-write 2M 16k {}
write 4M 12k {}
snapshot one
write 8k 8k pattern=0x12
"""
DATA_FILE = """
create size=32M cluster_size=4k data_file=data.raw {raw}
write 0 20M pattern=0x11
"""


def case(recipe):
    """The function damages an image made by the recipe."""
    def add(function):
        CASES.append((function.__name__.replace("_", "-"), recipe, function))
        return function
    return add
