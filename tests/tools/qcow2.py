"""A small editor for qcow2 images: a name for every byte, and no opinion about whether the bytes make sense.

The geometry (cluster size, entry sizes, refcount width) is read once, when the image is opened, so that a damage may
write nonsense into the header and still find the tables. docs/interop/qcow2.txt of QEMU is the format.
"""

import os
import struct
from dataclasses import dataclass, field

COPIED = 1 << 63
COMPRESSED = 1 << 62
ZERO = 1
OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00  # of L1, L2 and bitmap table entries
REFTABLE_MASK = 0xFFFF_FFFF_FFFF_FE00

EXT_END = 0
EXT_BACKING_FORMAT = 0xE2792ACA
EXT_FEATURE_NAMES = 0x6803F857
EXT_BITMAPS = 0x23852875
EXT_CRYPTO = 0x0537BE77
EXT_DATA_FILE = 0x44415441

DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = (1 << bit for bit in range(5))  # incompatible features
BITMAPS, RAW_DATA = 1, 2  # autoclear features

# field: (offset, bytes)
HEADER = {
    "magic": (0, 4), "version": (4, 4), "backing_file_offset": (8, 8), "backing_file_size": (16, 4),
    "cluster_bits": (20, 4), "size": (24, 8), "crypt_method": (32, 4), "l1_size": (36, 4),
    "l1_table_offset": (40, 8), "refcount_table_offset": (48, 8), "refcount_table_clusters": (56, 4),
    "nb_snapshots": (60, 4), "snapshots_offset": (64, 8), "incompatible_features": (72, 8),
    "compatible_features": (80, 8), "autoclear_features": (88, 8), "refcount_order": (96, 4),
    "header_length": (100, 4), "compression_type": (104, 1),
}


def align(value, unit):
    return -(-value // unit) * unit


class Unsuitable(Exception):
    """The image has no place where this damage could be done."""


@dataclass
class Extension:
    at: int      # where its data begins in the file
    type: int
    data: bytes


@dataclass
class L2Entry:
    state: "int | None"  # None: the active tables; else the number of a snapshot
    l1_index: int
    l2_index: int
    at: int              # where the entry itself lies in the file
    value: int
    bitmap: int          # subclusters; 0 without extended L2
    kind: str            # normal, zero-alloc, compressed, zero, unallocated
    guest: int
    host: int            # compressed: to the byte
    size: int            # bytes of host space

    @property
    def has_cluster(self):
        return self.kind in ("normal", "zero-alloc")


@dataclass
class Snapshot:
    at: int
    l1_table_offset: int
    l1_size: int
    id: bytes
    name: bytes
    date: "tuple[int, int]"
    clock: int
    vm_state_size: int
    extra: bytes

    # where in an entry a field lies: (offset, bytes)
    FIELDS = {"l1_table_offset": (0, 8), "l1_size": (8, 4), "id_size": (12, 2), "name_size": (14, 2),
              "date_sec": (16, 4), "date_nsec": (20, 4), "clock": (24, 8), "vm_state_size": (32, 4),
              "extra_size": (36, 4), "vm_state_size_large": (40, 8), "disk_size": (48, 8), "icount": (56, 8)}

    def encode(self):
        head = struct.pack(">QIHHIIQII", self.l1_table_offset, self.l1_size, len(self.id), len(self.name),
                           *self.date, self.clock, self.vm_state_size, len(self.extra))
        entry = head + self.extra + self.id + self.name
        return entry.ljust(align(len(entry), 8), b"\0")


@dataclass
class Bitmap:
    at: int
    table_offset: int
    table_size: int
    flags: int
    type: int
    granularity_bits: int
    name: bytes
    extra: bytes = field(default=b"")

    FIELDS = {"table_offset": (0, 8), "table_size": (8, 4), "flags": (12, 4), "type": (16, 1),
              "granularity_bits": (17, 1), "name_size": (18, 2), "extra_size": (20, 4)}


class Image:
    def __init__(self, path, writable=True):
        self.path = path
        self.file = open(path, "r+b" if writable else "rb", buffering=0)
        self.cluster_bits = self["cluster_bits"]
        if not 9 <= self.cluster_bits <= 21:
            raise Unsuitable(f"{path}: no qcow2 image this editor can work on")
        self.cluster_size = 1 << self.cluster_bits
        self.version = self["version"]
        v3 = self.version >= 3
        self.extended_l2 = v3 and bool(self["incompatible_features"] & EXTENDED_L2)
        self.external_data = v3 and bool(self["incompatible_features"] & DATA_FILE)
        self.header_length = self["header_length"] if v3 else 72
        self.refcount_bits = 1 << self["refcount_order"] if v3 else 16
        self.l2_entry_size = 16 if self.extended_l2 else 8
        self.l2_entries = self.cluster_size // self.l2_entry_size
        self.block_entries = self.cluster_size * 8 // self.refcount_bits

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    # ---- bytes

    @property
    def length(self):
        return os.fstat(self.file.fileno()).st_size

    def truncate(self, length):
        self.file.truncate(length)

    def read(self, offset, size):
        return os.pread(self.file.fileno(), size, offset).ljust(size, b"\0")

    def write(self, offset, data):
        while data:
            written = os.pwrite(self.file.fileno(), data, offset)
            offset, data = offset + written, data[written:]

    def get(self, offset, size=8):
        return int.from_bytes(self.read(offset, size), "big")

    def put(self, offset, value, size=8):
        self.write(offset, value.to_bytes(size, "big"))

    def table(self, offset, entries):
        """`entries` numbers of 64 bits."""
        return struct.unpack(f">{entries}Q", self.read(offset, entries * 8))

    # ---- header

    def __getitem__(self, name):
        return self.get(*HEADER[name])

    def __setitem__(self, name, value):
        self.put(HEADER[name][0], value, HEADER[name][1])

    def extensions(self):
        """The header extensions, the end marker not among them."""
        found, at = [], self.header_length
        end = self["backing_file_offset"] or self.cluster_size
        while at + 8 <= end:
            kind, size = self.get(at, 4), self.get(at + 4, 4)
            if kind == EXT_END or at + 8 + size > end:
                break
            found.append(Extension(at + 8, kind, self.read(at + 8, size)))
            at += 8 + align(size, 8)
        return found

    def extension(self, kind):
        found = [e for e in self.extensions() if e.type == kind]
        if not found:
            raise Unsuitable(f"no header extension {kind:#x}")
        return found[0]

    def set_extensions(self, pairs):
        """Writes the extensions (type, data) anew, the end marker and the backing file name behind them."""
        name = self.backing_name()
        body = b"".join(struct.pack(">II", kind, len(data)) + data.ljust(align(len(data), 8), b"\0")
                        for kind, data in pairs) + bytes(8)
        if self.header_length + len(body) + len(name) > self.cluster_size:
            raise Unsuitable("the first cluster has no room for the extensions")
        if name:
            self["backing_file_offset"] = self.header_length + len(body)
        self.write(self.header_length, (body + name).ljust(self.cluster_size - self.header_length, b"\0"))

    def backing_name(self):
        offset = self["backing_file_offset"]
        return self.read(offset, self["backing_file_size"]) if offset else b""

    # ---- mapping: L1 and L2 tables; `state` None is the active one, else a snapshot's number

    def l1_place(self, state=None):
        """(offset, entries) of an L1 table."""
        if state is None:
            return self["l1_table_offset"], self["l1_size"]
        snapshot = self.snapshots()[state]
        return snapshot.l1_table_offset, snapshot.l1_size

    def l1_at(self, index, state=None):
        return self.l1_place(state)[0] + 8 * index

    def l1_entries(self, state=None):
        return self.table(*self.l1_place(state))

    def l2_tables(self, state=None):
        """(L1 index, offset of the L2 table) of every L2 table there is."""
        return [(i, e & OFFSET_MASK) for i, e in enumerate(self.l1_entries(state)) if e & OFFSET_MASK]

    def l2_at(self, table, index):
        return table + index * self.l2_entry_size

    def kind(self, value):
        if value & COMPRESSED:
            return "compressed"
        offset = value & OFFSET_MASK
        if value & ZERO and not self.extended_l2:
            return "zero-alloc" if offset else "zero"
        if offset or (self.external_data and value & COPIED):
            return "normal"
        return "unallocated"

    def compressed_place(self, value):
        """(offset, bytes) of compressed data."""
        shift = 62 - (self.cluster_bits - 8)
        offset = value & ((1 << shift) - 1)
        sectors = ((value >> shift) & ((1 << (self.cluster_bits - 8)) - 1)) + 1
        return offset, sectors * 512 - offset % 512

    def l2_entries_of(self, table, l1_index=0, state=None, empty=True):
        """Every entry of one L2 table; those that are all zeros only if `empty`."""
        words = self.table(table, self.cluster_size // 8)
        step = self.l2_entry_size // 8
        for j in range(self.l2_entries):
            value, bitmap = words[j * step], words[j * step + 1] if step == 2 else 0
            if not (empty or value or bitmap):
                continue
            kind = self.kind(value)
            host, size = value & OFFSET_MASK, self.cluster_size
            if kind == "compressed":
                host, size = self.compressed_place(value)
            guest = (l1_index * self.l2_entries + j) << self.cluster_bits
            yield L2Entry(state, l1_index, j, self.l2_at(table, j), value, bitmap, kind, guest, host, size)

    def entries(self, *kinds, state=None):
        """The entries of these kinds (default: whatever isn't unallocated) of a state, in order."""
        kinds = kinds or ("normal", "zero-alloc", "compressed", "zero")
        return [e for l1_index, table in self.l2_tables(state)
                for e in self.l2_entries_of(table, l1_index, state, "unallocated" in kinds) if e.kind in kinds]

    # ---- refcounts

    def reftable_at(self, index):
        return self["refcount_table_offset"] + 8 * index

    def reftable(self):
        return self.table(self["refcount_table_offset"], self["refcount_table_clusters"] * self.cluster_size // 8)

    def _refcount_place(self, cluster):
        """(byte offset, bytes, shift) of a cluster's refcount; the least significant bits of a byte come first."""
        entry = self.get(self.reftable_at(cluster // self.block_entries)) & REFTABLE_MASK
        if cluster // self.block_entries >= self["refcount_table_clusters"] * self.cluster_size // 8 or not entry:
            return None
        bit = cluster % self.block_entries * self.refcount_bits
        return entry + bit // 8, max(1, self.refcount_bits // 8), bit % 8

    def refcount(self, cluster):
        place = self._refcount_place(cluster)
        if place is None:
            return 0
        offset, size, shift = place
        return self.get(offset, size) >> shift & ((1 << self.refcount_bits) - 1)

    def set_refcount(self, cluster, value):
        place = self._refcount_place(cluster)
        mask = (1 << self.refcount_bits) - 1
        if place is None or value > mask:
            raise Unsuitable(f"no room for refcount {value} of cluster {cluster}")
        offset, size, shift = place
        self.put(offset, self.get(offset, size) & ~(mask << shift) | value << shift, size)

    def add_refcount(self, cluster, delta):
        self.set_refcount(cluster, self.refcount(cluster) + delta)

    def append(self, clusters=1):
        """Space for `clusters` clusters behind the end of the file, refcounts 1; a refcount block too if one lacks."""
        first = align(self.length, self.cluster_size) // self.cluster_size
        while True:
            wanted = range(first // self.block_entries, (first + clusters - 1) // self.block_entries + 1)
            reftable = self.reftable()
            if wanted[-1] >= len(reftable):
                raise Unsuitable("the refcount table is full")
            lacking = next((i for i in wanted if not reftable[i]), None)
            if lacking is None:
                break
            self.put(self.reftable_at(lacking), first * self.cluster_size)
            self.truncate((first + 1) * self.cluster_size)
            self.set_refcount(first, 1)
            first += 1
        self.truncate((first + clusters) * self.cluster_size)
        for cluster in range(first, first + clusters):
            self.set_refcount(cluster, 1)
        return first * self.cluster_size

    # ---- snapshots

    def snapshots(self):
        found, at = [], self["snapshots_offset"]
        for _ in range(self["nb_snapshots"]):
            l1, size, id_size, name_size, sec, nsec, clock, vm, extra_size = \
                struct.unpack(">QIHHIIQII", self.read(at, 40))
            id_at, name_at = at + 40 + extra_size, at + 40 + extra_size + id_size
            found.append(Snapshot(at, l1, size, self.read(id_at, id_size), self.read(name_at, name_size),
                                  (sec, nsec), clock, vm, self.read(at + 40, extra_size)))
            at += align(40 + extra_size + id_size + name_size, 8)
        return found

    def set_snapshots(self, snapshots):
        """Writes the snapshot table, in its place if it fits there, else behind the end of the file."""
        old_at, old = self["snapshots_offset"], self.snapshots()
        end = old[-1].at + len(old[-1].encode()) if old else old_at
        room = align(end - old_at, self.cluster_size)
        data = b"".join(snapshot.encode() for snapshot in snapshots)
        if len(data) > room:
            self["snapshots_offset"] = self.append(align(len(data), self.cluster_size) // self.cluster_size)
            for cluster in range(old_at // self.cluster_size, (old_at + room) // self.cluster_size):
                self.add_refcount(cluster, -1)
            room = len(data)
        self.write(self["snapshots_offset"], data.ljust(room, b"\0"))
        self["nb_snapshots"] = len(snapshots)

    def put_snapshot_field(self, number, name, value):
        offset, size = Snapshot.FIELDS[name]
        self.put(self.snapshots()[number].at + offset, value, size)

    # ---- bitmaps

    def bitmaps_header(self):
        """(where the extension's data lies, number, directory size, directory offset)."""
        extension = self.extension(EXT_BITMAPS)
        count, _, size, offset = struct.unpack(">IIQQ", extension.data)
        return extension.at, count, size, offset

    def bitmaps(self):
        _, count, _, at = self.bitmaps_header()
        found = []
        for _ in range(count):
            table, size, flags, kind, granularity, name_size, extra_size = struct.unpack(">QIIBBHI", self.read(at, 24))
            found.append(Bitmap(at, table, size, flags, kind, granularity,
                                self.read(at + 24 + extra_size, name_size), self.read(at + 24, extra_size)))
            at += align(24 + extra_size + name_size, 8)
        return found

    def put_bitmap_field(self, number, name, value):
        offset, size = Bitmap.FIELDS[name]
        self.put(self.bitmaps()[number].at + offset, value, size)
