"""Seeded random damages of an image in memory: of a word of a structure, of a whole cluster of one, of the file's end."""

import struct

from reader import COPIED, OFFSET, cells

TEXT = b"Nov 25 00:00:01 host kernel: EXT4-fs error (device vda1): ext4_lookup: deleted inode referenced\n"
HEADER = ((8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4), (64, 8), (72, 8),
          (80, 8), (88, 8), (96, 4), (100, 4), (104, 1))
SNAPSHOT = ((0, 8), (8, 4), (12, 2), (14, 2), (16, 4), (32, 4), (36, 4), (40, 8), (48, 8))


class Structures:
    """Where an image, as yet whole, has its words and its clusters of metadata."""

    def __init__(self, reader):
        self.reader = reader
        cluster = reader.cluster
        self.words = {"header": list(HEADER if reader.version == 3 else [f for f in HEADER if f[0] < 72]),
                      "reftable": [], "refblock": [], "l1": [], "l2": [], "empty l2": [], "snapshot": [], "bitmap": [],
                      "extension": [(at, 4) for at in range(reader.header_length, reader.header_length + 64, 4)]}
        self.tables = {}  # offset -> kind
        for i, word in enumerate(reader.reftable()):
            if word or i < 4:
                self.words["reftable"].append((reader.reftable_at + 8 * i, 8))
            if word:
                self.tables[word] = "refblock"
                self.words["refblock"] += [(word + at, 8) for at in range(0, min(cluster, reader.clusters * 8), 8)]
        self.tables[reader.reftable_at] = "reftable"
        for at, size in reader.states.values():
            self.tables[at] = "l1"
            for i, word in enumerate(cells(reader.data, at, size)):
                self.words["l1"] += [(at + 8 * i, 8)] * (4 if word else 1)
                if word & OFFSET:
                    self._l2(word & OFFSET)
        for s in reader.snapshots:
            self.tables[reader.snapshots_at] = "snapshot table"
            self.words["snapshot"] += [(s["at"] + at, size) for at, size in SNAPSHOT]
        found, (at, size) = reader.bitmaps()
        if found:
            self.tables[at] = "bitmap directory"
            self.words["bitmap"] = [(at + k, 4) for k in range(0, size, 4)]
            for _, table, entries, _, _ in found:
                self.tables[table] = "bitmap table"
                self.words["bitmap"] += [(table + 8 * k, 8) for k in range(entries)]
        if 0x0537BE77 in reader.extensions:
            self.words["extension"] *= 3
        self.words = {kind: words for kind, words in self.words.items() if words}

    def _l2(self, at):
        if at in self.tables:
            return
        self.tables[at] = "l2"
        step = 8 * self.reader.step
        for k, word in enumerate(self.reader.l2(at)):
            used = word or k % self.reader.step and self.reader.l2(at)[k - 1]
            self.words["l2" if used else "empty l2"].append((at + 8 * k, 8, step))


KINDS = {"l1": 10, "l2": 10, "empty l2": 2, "refblock": 4, "reftable": 3, "snapshot": 5, "bitmap": 4, "header": 2,
         "extension": 1}


def damage(structures, data, older, rng):
    """Damages `data` (a bytearray), and says how. `older`: the same image, earlier."""
    what = rng.choices(("word", "words", "table", "stale", "truncate"), (30, 3, 4, 3, 1))[0]
    cluster = structures.reader.cluster
    if what == "truncate" and len(data) > 8 * cluster:
        length = rng.randrange(len(data) * 3 // 4, len(data))
        length -= length % (cluster if rng.randrange(2) else 512)
        del data[length:]
        return f"cut off at {length:#x}"
    if what in ("table", "stale"):
        at = rng.choice(sorted(structures.tables))
        how, new = table(structures, data, older, rng, at, what)
        if at + cluster <= len(data):
            data[at:at + cluster] = new
        return f"{structures.tables[at]} at {at:#x} {how}"
    known = [k for k in KINDS if k in structures.words]
    kind = rng.choices(known, [KINDS[k] for k in known])[0]
    place = rng.choice(structures.words[kind])
    count = rng.randrange(2, 9) if what == "words" else 1
    step = place[2] if len(place) > 2 else place[1]
    return f"{kind}: " + ", ".join(word(structures, data, rng, kind, place[0] + k * step, place[1])
                                   for k in range(count) if place[0] + (k + 1) * step <= len(data))


def table(structures, data, older, rng, at, what):
    cluster = structures.reader.cluster
    if what == "stale":
        # The last write of the table was lost, or the second half of it.
        old = bytearray(older[at:at + cluster].ljust(cluster, b"\0"))
        if rng.randrange(2):
            old[:cluster // 2] = data[at:at + cluster // 2].ljust(cluster // 2, b"\0")
        return "is an old version", old
    how = rng.choice(("zeros", "text", "other", "noise"))
    if how == "zeros":
        return "zeroed", bytes(cluster)
    if how == "text":
        return "overwritten by text", (TEXT * (cluster // len(TEXT) + 1))[:cluster]
    if how == "noise":
        return "overwritten by noise", rng.randbytes(cluster)
    other = rng.randrange(len(data) // cluster) * cluster
    return f"overwritten by cluster {other:#x}", data[other:other + cluster]


def word(structures, data, rng, kind, at, size):
    """Changes one number, and says from what to what."""
    old = int.from_bytes(data[at:at + size], "big")
    bits = 8 * size
    top = (1 << bits) - 1
    ways = {"zero": 4, "bit": 4, "random": 1, "more": 1}
    if bits == 64:
        ways.update({"cluster": 4, "swap": 2})
    if kind in ("l1", "l2", "empty l2"):
        ways.update({"reserved": 4, "no-offset": 2, "both": 1})
    way = rng.choices(list(ways), list(ways.values()))[0]
    other = rng.randrange(max(1, len(data) // structures.reader.cluster)) * structures.reader.cluster
    if way == "zero":
        new = 0
    elif way == "bit":
        new = old ^ 1 << rng.randrange(bits)
    elif way == "random":
        new = rng.getrandbits(bits)
    elif way == "more":
        new = old + rng.choice((1, -1, 2, structures.reader.cluster)) & top
    elif way == "cluster":
        new = old & ~OFFSET | other
    elif way == "swap":
        place = rng.choice(structures.words[kind])[0]
        new = int.from_bytes(data[place:place + 8], "big")
        data[place:place + 8] = struct.pack(">Q", old)
    elif way == "reserved":
        new = old | 1 << rng.choice((*range(1, 9), *range(56, 62)))
    elif way == "no-offset":
        new = old & ~OFFSET | (COPIED if rng.randrange(2) else 0)
    else:
        new = old & ~OFFSET | other | 1 << rng.choice((*range(1, 9), *range(56, 63)))
    data[at:at + size] = new.to_bytes(size, "big")
    return f"{at:#x} {old:#x} -> {new:#x}" + (f" (exchanged with {place:#x})" if way == "swap" else "")
