"""What a qcow2 file says, read without any code of this program: states, their contents, who refers to which cluster.

Everything is in memory, since thousands of images are read. An entry is followed as QEMU follows it: bits that it masks
are masked, what it refuses can't be read. docs/interop/qcow2.txt of QEMU is the format.
"""

import ctypes
import ctypes.util
import struct
import zlib
from collections import defaultdict

OFFSET = 0x00FF_FFFF_FFFF_FE00
COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1
DATA_FILE, ZSTD, EXTENDED_L2 = 4, 8, 16  # incompatible features
BITMAPS_VALID = 1                        # autoclear feature
MOST = 1 << 16                           # entries, of any table, that a small image may have
BACKING = b"(backing file)"              # what reads as the backing file does, whatever that is


class Unusable(Exception):
    """Nothing can be read by this header."""


def cells(data, offset, count):
    """`count` numbers of 64 bits; zeros behind the end of the file."""
    return struct.unpack(f">{count}Q", data[offset:offset + 8 * count].ljust(8 * count, b"\0"))


def unzstd(payload, size):
    zstd = unzstd.libzstd
    zstd.ZSTD_findFrameCompressedSize.restype = zstd.ZSTD_decompress.restype = ctypes.c_size_t
    length = zstd.ZSTD_findFrameCompressedSize(payload, ctypes.c_size_t(len(payload)))
    if length > len(payload):
        return None
    out = ctypes.create_string_buffer(size)
    done = zstd.ZSTD_decompress(out, ctypes.c_size_t(size), payload, ctypes.c_size_t(length))
    return out.raw if done == size else None


unzstd.libzstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")


def inflate(payload, size):
    try:
        data = zlib.decompressobj(-12).decompress(payload, size)
    except zlib.error:
        return None
    return data if len(data) == size else None


class Reader:
    """`data`: the file; `outside`: its external data file."""

    def __init__(self, data, outside=b""):
        self.data, self.outside = bytes(data), outside
        head = self.data[:112].ljust(112, b"\0")
        (magic, self.version, self.backing_at, self.backing_size, self.bits, self.size, self.crypt, self.l1_size,
         self.l1_at, self.reftable_at, self.reftable_clusters, self.snapshot_count, self.snapshots_at) = \
            struct.unpack(">IIQIIQIIQQIIQ", head[:72])
        if magic != 0x514649FB or self.version not in (2, 3) or not 9 <= self.bits <= 21:
            raise Unusable
        self.incompatible = self.autoclear = 0
        self.refcount_order, self.header_length, self.compression = 4, 72, 0
        if self.version == 3:
            (self.incompatible, _, self.autoclear, self.refcount_order, self.header_length,
             self.compression) = struct.unpack(">QQQIIB", head[72:105])
        if self.incompatible & ~31 or self.refcount_order > 6 or self.l1_size > MOST:
            raise Unusable
        self.cluster = 1 << self.bits
        self.external = bool(self.incompatible & DATA_FILE)
        self.wide = bool(self.incompatible & EXTENDED_L2)
        self.step = 2 if self.wide else 1
        self.l2_entries = self.cluster // 8 // self.step
        self.backing = self.data[self.backing_at:self.backing_at + self.backing_size] if self.backing_at else None
        self.unallocated = BACKING if self.backing_at else None  # None: as good as zeros
        self.clusters = -(-len(self.data) // self.cluster)
        self.extensions = dict(self._extensions())
        self.snapshots = self._snapshots()
        self.states = {"active": (self.l1_at, self.l1_size)}
        self.states.update({f"snapshot@{s['l1-at']:#x}": (s["l1-at"], s["l1-size"]) for s in self.snapshots})
        self._tables, self._contents = {}, {}

    # ---- header, snapshots

    def _extensions(self):
        at, end = self.header_length, self.backing_at or self.cluster
        while at + 8 <= end:
            kind, size = struct.unpack(">II", self.data[at:at + 8].ljust(8, b"\0"))
            if kind == 0 or at + 8 + size > end:
                return
            yield kind, self.data[at + 8:at + 8 + size]
            at += 8 + -(-size // 8) * 8

    def _snapshots(self):
        """Those whose tables can be read, up to the first entry whose end can't be found."""
        found, at = [], self.snapshots_at
        if at % self.cluster or not at:
            return found
        for _ in range(min(self.snapshot_count, 64)):
            if at + 40 > len(self.data):
                break
            l1_at, l1_size, id_size, name_size, sec, nsec, clock, vm, extra = \
                struct.unpack(">QIHHIIQII", self.data[at:at + 40])
            end = at + 40 + extra + id_size + name_size
            whole = extra <= 1024 and end <= len(self.data)
            if l1_size > MOST or l1_at % self.cluster or not 0 < l1_at < len(self.data):
                if not whole or not l1_at:
                    break
                at = end + -end % 8
                continue
            more = self.data[at + 40:at + 40 + extra]
            text = self.data[at + 40 + extra:end]
            found.append({"at": at, "end": end, "l1-at": l1_at, "l1-size": l1_size, "id": text[:id_size],
                          "name": text[id_size:], "date": (sec, nsec), "clock": clock,
                          "vm-size": struct.unpack(">Q", more[:8])[0] if extra >= 8 else vm,
                          "disk": struct.unpack(">Q", more[8:16])[0] if extra >= 16 else self.size})
            if not whole:
                break  # what it maps can be read, but not where the next one is
            at = end + -end % 8
        return found

    # ---- mapping

    def l1(self, state):
        at, size = self.states[state]
        return cells(self.data, at, size) if at % self.cluster == 0 else (OFFSET,) * size

    def l2(self, at):
        """The words of an L2 table; None where there can be none."""
        if at % self.cluster:
            return None
        if at not in self._tables:
            self._tables[at] = cells(self.data, at, self.cluster // 8)
        return self._tables[at]

    def entries(self, state):
        """(guest cluster, entry, subcluster bits), those that are nothing but zeros left out; entry None: what can't be
        read, a whole table."""
        for i, word in enumerate(self.l1(state)):
            at = word & OFFSET
            if not at:
                continue
            words = self.l2(at)
            if words is None:
                yield i, None, 0
            elif any(words):
                for j in range(0, len(words), self.step):
                    bitmap = words[j + 1] if self.wide else 0
                    if words[j] or bitmap:
                        yield i * self.l2_entries + j // self.step, words[j], bitmap

    def compressed_place(self, entry):
        """(offset, bytes)."""
        shift = 62 - (self.bits - 8)
        offset = entry & ((1 << shift) - 1)
        sectors = (entry >> shift & ((1 << (self.bits - 8)) - 1)) + 1
        return offset, sectors * 512 - offset % 512

    def stored(self, host):
        source = self.outside if self.external else self.data
        found = source[host:host + self.cluster].ljust(self.cluster, b"\0")
        return (host, found) if self.crypt else found

    def pieces(self, entry, bitmap):
        """What a cluster reads as, a tuple: None is what reads as zeros, False what can't be read."""
        if entry & COMPRESSED:
            if self.external:
                return (False,)
            offset, size = self.compressed_place(entry)
            unpack = unzstd if self.incompatible & ZSTD and self.compression == 1 else inflate
            found = unpack(self.data[offset:offset + size], self.cluster)
            return (False,) if found is None else (self._plain(found),)
        host = entry & OFFSET
        if self.wide:
            return self._subclusters(host, bitmap)
        if entry & ZERO and self.version == 3:
            return (None,)
        if not host and not (self.external and entry & COPIED):
            return (self.unallocated,)
        return (False,) if host % self.cluster else (self._plain(self.stored(host)),)

    def _subclusters(self, host, bitmap):
        size = self.cluster // 32
        found = b"" if host % self.cluster else self.stored(host)
        found = found[1] if isinstance(found, tuple) else found
        pieces = []
        for k in range(32):
            allocated, zero = bitmap >> k & 1, bitmap >> (32 + k) & 1
            if allocated and zero or allocated and (host % self.cluster or not host and not self.external):
                pieces.append(False)
            elif allocated:
                pieces.append(self._plain(found[k * size:(k + 1) * size]))
            else:
                pieces.append(None if zero else self.unallocated)
        return tuple(pieces)

    @staticmethod
    def _plain(found):
        return found if isinstance(found, tuple) or found.count(0) != len(found) else None

    def content(self, state):
        """({guest cluster: pieces}, L1 indexes that can't be read)."""
        if state not in self._contents:
            known, lost = {}, set()
            for guest, entry, bitmap in self.entries(state):
                if entry is None:
                    lost.add(guest)
                else:
                    known[guest] = self.pieces(entry, bitmap)
            self._contents[state] = known, lost
        return self._contents[state]

    def content_at(self, state, l1_at, l1_size):
        """The same of a state that nothing leads to."""
        if state in self.states:
            return self.content(state)
        self.states[state] = l1_at, l1_size
        found = self.content(state)
        del self.states[state], self._contents[state]
        return found

    # ---- who refers to what

    def references(self):
        """cluster number -> set of (kind, state or name, place)."""
        found = defaultdict(set)

        def refer(offset, size, kind, owner, place=0):
            if 0 <= offset < len(self.data):
                last = min(offset + size, len(self.data)) - 1
                for cluster in range(offset >> self.bits, (last >> self.bits) + 1):
                    found[cluster].add((kind, owner, place))

        refer(0, self.cluster, "header", "")
        refer(self.reftable_at, self.reftable_clusters << self.bits, "reftable", "")
        for i, word in enumerate(self.reftable()):
            if word:
                refer(word & ~511, self.cluster, "refblock", "", i)
        if self.snapshots:
            end = min(self.snapshots[-1]["end"], self.snapshots_at + (64 << 10))
            refer(self.snapshots_at, end - self.snapshots_at, "snapshot-table", "")
        for state, (at, size) in self.states.items():
            refer(at, 8 * size, "l1", state)
            for i, word in enumerate(self.l1(state)):
                if word & OFFSET:
                    refer(word & OFFSET, self.cluster, "l2", state, i)
            for guest, entry, _ in self.entries(state):
                if entry is None:
                    continue
                if entry & COMPRESSED:
                    refer(*self.compressed_place(entry), "compressed", state, guest)
                elif entry & OFFSET and not self.external:
                    refer(entry & OFFSET, self.cluster, "data", state, guest)
        if 0x0537BE77 in self.extensions and len(self.extensions[0x0537BE77]) == 16:
            refer(*struct.unpack(">QQ", self.extensions[0x0537BE77]), "luks", "")
        self._bitmap_references(refer)
        return found

    def bitmaps(self):
        """Of the directory: (name, table offset, table entries, flags, granularity); nothing where it isn't valid."""
        extension = self.extensions.get(0x23852875, b"")
        if len(extension) != 24 or not self.autoclear & BITMAPS_VALID:
            return [], (0, 0)
        count, _, size, at = struct.unpack(">IIQQ", extension)
        found, end, place = [], at + size, (at, size)
        for _ in range(min(count, 64)):
            if at + 24 > min(end, len(self.data)):
                break
            table, entries, flags, kind, granularity, name, extra = struct.unpack(">QIIBBHI", self.data[at:at + 24])
            if entries > MOST or extra > 1024 or kind != 1:
                break
            found.append((self.data[at + 24 + extra:at + 24 + extra + name], table, entries, flags, granularity))
            at += -(-(24 + extra + name) // 8) * 8
        return (found if at == end and len(found) == count else []), place

    def bitmap_contents(self):
        """Of the bitmaps that QEMU loads: not one whose table isn't aligned, or has an entry with reserved bits."""
        found = {}
        for name, table, entries, flags, granularity in self.bitmaps()[0]:
            words = cells(self.data, table, entries)
            if table % self.cluster == 0 and not any(w & ~OFFSET & ~1 or w & OFFSET and w & 1 or (w & OFFSET) % self.cluster
                                                     for w in words):
                found[name] = flags, granularity, tuple(
                    self.data[w & OFFSET:(w & OFFSET) + self.cluster] if w & OFFSET else w & 1 for w in words)
        return found

    def _bitmap_references(self, refer):
        found, (at, size) = self.bitmaps()
        if not found:
            return
        refer(at, size, "bitmap-directory", "")
        for name, table, entries, _, _ in found:
            refer(table, 8 * entries, "bitmap-table", name)
            for i, word in enumerate(cells(self.data, table, entries)):
                if word & OFFSET:
                    refer(word & OFFSET, self.cluster, "bitmap-data", name, i)

    # ---- refcounts

    def reftable(self):
        if self.reftable_at % self.cluster or not self.reftable_at or self.reftable_clusters > 64:
            return ()
        return cells(self.data, self.reftable_at, self.reftable_clusters * self.cluster // 8)

    def refcount_block(self, cluster):
        """The offset of the refcount block that tells of a cluster; None if none does."""
        table, i = self.reftable(), cluster // self.block_entries
        at = table[i] if i < len(table) else 0
        return at if at and at % self.cluster == 0 and at < len(self.data) else None

    @property
    def block_entries(self):
        return self.cluster * 8 >> self.refcount_order

    def refcount(self, cluster, block=None):
        """None if no refcount block tells. `block`: its offset, if the refcount table doesn't matter."""
        at = block or self.refcount_block(cluster)
        if at is None:
            return None
        width = 1 << self.refcount_order
        bit = cluster % self.block_entries * width
        if width >= 8:
            place = at + bit // 8
            return int.from_bytes(self.data[place:place + width // 8].ljust(width // 8, b"\0"), "big")
        byte = self.data[at + bit // 8] if at + bit // 8 < len(self.data) else 0
        return byte >> bit % 8 & (1 << width) - 1

    def bytes_of(self, cluster):
        return self.data[cluster << self.bits:(cluster + 1) << self.bits]
