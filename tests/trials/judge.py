"""What a repair has lost, by the reader's word alone: of the image before the damage, after it, and after the repair.

This is asked for:
  content   what a state read as before the repair, and rightly so, it still does
  kept      a cluster that only lost references named still has its bytes, and a refcount
  counted   a cluster that has lost one of several references isn't left to the others: the refcount hasn't fallen
  written   nothing is written into what was no table when the image was whole, whatever names it as one
  known     a damage that is still there isn't called good, nor a mere leak without a word that data looks lost
  sound     what is called good has refcounts that count the references, and COPIED where there is only one

What nothing in the file can decide is explained and no loss; EXPLAINED says why.
"""

from reader import COMPRESSED, COPIED, OFFSET, Reader, Unusable, cells

EXPLAINED = {
    "behind": "it lies behind every cluster in use: a write that was cut short leaves the same",
    "bitmap": "of a bitmap that can't be read: it tells backups what has changed, and a full one makes a new bitmap",
    "replaced": "the entry that named it says something else, as after a write by the guest that was cut short before "
                "the old cluster's refcount fell",
    "uncounted": "its refcount was damaged, too: how many references there were is nowhere to be found",
    "copy": "a table that names nothing which isn't accounted for elsewhere: an update that was cut short leaves the same",
}
RECOUNTED = ("header", "reftable", "refblock")  # structures that can be made anew from all others


def read(data, outside=b""):
    """A reader, or nothing if the header can't be used."""
    try:
        return Reader(data, outside)
    except Unusable:
        return None


def spread(pieces, parts):
    """Subclusters of what was told as one."""
    if parts == 1 or len(pieces) == parts:
        return pieces
    one = pieces[0]
    if not isinstance(one, bytes) or len(one) < 512:
        return (one,) * parts
    size = len(one) // parts
    return tuple(Reader._plain(one[k * size:(k + 1) * size]) for k in range(parts))


class States:
    """Contents of three images, compared state by state."""

    def __init__(self, original, damaged, repaired):
        self.original, self.damaged, self.repaired = original, damaged, repaired
        self.parts = 32 if original.wide else 1
        self.metadata = {cluster for cluster, were in original.references().items()
                         if not {r[0] for r in were} & {"l2", "data", "compressed"}}

    def at(self, reader, content, guest):
        known, unreadable = content
        if guest // reader.l2_entries in unreadable:
            return (False,) * self.parts
        return spread(known.get(guest, (reader.unallocated,)), self.parts)

    def lost(self, state, after):
        """Guest clusters that `state` of the damaged image has, and `after` of the repaired one hasn't any more."""
        first, before, now = (self.original.content(state), self.damaged.content(state), self.repaired.content(after))
        if before == now:
            return []
        guests = set(first[0]) | set(before[0]) | set(now[0])
        for index in now[1] - before[1]:
            guests.update(range(index * self.original.l2_entries, (index + 1) * self.original.l2_entries))
        # What is read by a table of another kind is right by chance.
        strange = {i for i, word in enumerate(self.damaged.l1(state))
                   if word & OFFSET and (word & OFFSET) >> self.original.bits in self.metadata}
        found = []
        entries = self.original.states[state][1]  # what lies behind is no part of this disk
        for guest in sorted(guests):
            if guest // self.original.l2_entries in strange or guest // self.original.l2_entries >= entries:
                continue
            true, had, has = (self.at(r, c, guest) for r, c in
                              ((self.original, first), (self.damaged, before), (self.repaired, now)))
            if any(t == h and h is not False and h != n for t, h, n in zip(true, had, has)):
                found.append(guest)
        return found

    def losses(self):
        for state in self.damaged.states:
            if state not in self.original.states:
                continue
            others = [state] if state == "active" else [s for s in self.repaired.states if s != "active"]
            lost = min((self.lost(state, s) for s in others), key=len, default=None)
            if lost is None:
                yield f"content: {state} is gone"
            elif lost:
                yield f"content: {state} reads otherwise at guest clusters {listed(lost)}"
        yield from self.facts()

    def facts(self):
        o, d, r = self.original, self.damaged, self.repaired
        for name in ("size", "backing", "crypt"):
            if getattr(o, name) == getattr(d, name) != getattr(r, name):
                yield f"content: the header's {name} is {getattr(r, name)}, it was {getattr(d, name)}"
        kept = {s["l1-at"]: s for s in o.snapshots}
        for s in d.snapshots:
            true = kept.get(s["l1-at"])
            same = [n for n in r.snapshots if n["id"] == s["id"] and n["name"] == s["name"]]
            for name in ("vm-size", "disk", "date", "clock"):
                if true and same and true[name] == s[name] and all(n[name] != s[name] for n in same):
                    yield f"content: {name} of snapshot {s['name']!r} is {same[0][name]}, it was {s[name]}"
        now = r.bitmap_contents()
        for name, bitmap in d.bitmap_contents().items():
            if o.bitmap_contents().get(name) == bitmap != now.get(name) and not any(b is bitmap for b in now):
                yield f"content: bitmap {name!r} is {'another' if name in now else 'gone'}"


class Clusters:
    """What was referred to, and isn't any more."""

    def __init__(self, original, damaged, repaired):
        self.original, self.damaged, self.repaired = original, damaged, repaired
        self.were, self.are = original.references(), damaged.references() if damaged else {}
        self.now = repaired.references() if damaged else {}
        self.last = max(self.are, default=0)

    def victims(self):
        """(cluster, its references, those that are left) of every cluster that has lost one and has its bytes."""
        for cluster, were in sorted(self.were.items()):
            were = {r for r in were if r[0] not in RECOUNTED}
            lost = were - self.are.get(cluster, set())
            if lost and self.holds_its_bytes(cluster):
                yield cluster, were, were - lost

    def holds_its_bytes(self, cluster):
        """Most of those that aren't zeros: what else is mostly zeros isn't it."""
        old = self.original.bytes_of(cluster)
        new = self.damaged.bytes_of(cluster) if self.damaged else old
        parts = [i for i in range(0, len(old), 64) if any(old[i:i + 64])]
        return 2 * sum(old[i:i + 64] == new[i:i + 64] for i in parts) > len(parts)

    def losses(self, later):
        """(text, the explanation or nothing). `later`: not the first repair, which may have mended what told."""
        for cluster, were, left in self.victims():
            before = self.damaged.refcount(cluster) if self.damaged else None
            now = self.repaired.refcount(cluster)
            name = f"cluster {cluster} ({told(were)})"
            if not left:
                if not self.same(cluster):
                    yield f"kept: {name}, lost, was written over", \
                        "bitmap" if self.of_bitmap(were) and not self.repaired.bitmaps()[0] else None
                elif before != 0 and not now and before != now:
                    yield f"kept: {name}, lost, was freed: refcount {before} -> {now}", self.explanation(cluster, were)
            elif before is not None and (now or 0) < min(before, len(were)):
                text = f"counted: {name} is left to {told(left)}: refcount {before} -> {now}"
                yield text, self.miscount(cluster, were - left, later)

    @staticmethod
    def of_bitmap(were):
        return all(r[0].startswith("bitmap") for r in were)

    def same(self, cluster):
        """The same bytes, or the true ones; or of a table that something names as one, or does again, entries that read
        the same."""
        old, true = self.damaged.bytes_of(cluster), self.original.bytes_of(cluster)
        new = self.repaired.bytes_of(cluster)[:len(old)]
        if old == new or len(old) == len(new) and all(n in (o, t) for n, o, t in zip(new, old, true)):
            return True
        kinds = {r[0] for r in self.were[cluster]}
        if kinds == {"l1"} and any(r[0] == "l1" for r in self.now.get(cluster, ())):
            return all(self.damaged.content_at(state, *self.original.states[state]) == self.repaired.content(state)
                       for _, state, _ in self.were[cluster] if state in self.repaired.states)
        if kinds != {"l2"} or all(r[0] != "l2" for names in (self.are, self.now) for r in names.get(cluster, ())):
            return False
        one, other = self.damaged.l2(cluster << self.damaged.bits), self.repaired.l2(cluster << self.damaged.bits)
        step = self.damaged.step
        for k in range(0, len(one), step):
            if {r[0] for r in self.were.get((one[k] & OFFSET) >> self.damaged.bits, ())} & set(RECOUNTED):
                continue  # what is read there was never the guest's
            before, after = (r.pieces(w[k], w[k + 1] if step == 2 else 0)
                             for r, w in ((self.damaged, one), (self.repaired, other)))
            if any(b is not False and a != b for a, b in zip(after, before)):
                return False
        return True

    def miscount(self, cluster, lost, later):
        """Why a refcount could fall."""
        if any(of(self.damaged, cluster) != of(self.original, cluster) for of in (Reader.refcount, Reader.refcount_block)):
            return "uncounted"
        told_elsewhere = not later and any(self.too_low(r) for r in lost)
        return "replaced" if all(map(self.replaced, lost)) and not told_elsewhere else None

    def replaced(self, reference):
        """Does the entry say something else now? An empty one says nothing."""
        entry = self.entry(self.repaired, reference)
        return entry is not None and (entry & ~COPIED != 0 or self.repaired.wide)

    def too_low(self, reference):
        """Does the refcount of what the damaged entry names tell that it is one too many there?"""
        cluster = self.named(self.damaged, reference)
        return cluster is not None and (self.damaged.refcount(cluster) or 0) < len(self.are.get(cluster, ()))

    def named(self, reader, reference):
        """The cluster that an entry names."""
        entry = self.entry(reader, reference) or 0
        if reference[0] != "l2" and entry & COMPRESSED:
            return reader.compressed_place(entry)[0] >> reader.bits
        cluster = (entry & OFFSET) >> reader.bits
        return cluster if 0 < cluster < reader.clusters else None

    def entry(self, reader, reference):
        """The word at the place of a reference; None if it is empty, or in no table."""
        kind, state, place = reference
        if state not in reader.states or kind not in ("l2", "data", "compressed"):
            return None
        table = dict(enumerate(reader.l1(state))).get(place if kind == "l2" else place // reader.l2_entries, 0)
        if all(r[0] != "l2" for r in self.were.get((table & OFFSET) >> reader.bits, ())):
            return None
        if kind == "l2":
            return table
        return next((entry for guest, entry, _ in reader.entries(state) if guest == place), None)

    def explanation(self, cluster, were):
        if cluster > self.last:
            return "behind"
        if self.damaged and self.damaged.refcount(cluster, self.original.refcount_block(cluster)) == 0:
            return "uncounted"  # whatever the refcount table says, or doesn't
        if self.of_bitmap(were):
            return "bitmap"
        kind = min(were)[0]
        if kind in ("l1", "l2") and all(self.accounted(t) for t in self.targets(cluster, kind)):
            return "copy"
        return "copy" if kind == "snapshot-table" and self.same_snapshots() else None

    def same_snapshots(self):
        """Are all that it had in the table that is in use now?"""
        places = [{(s["id"], s["name"], s["l1-at"]) for s in r.snapshots} for r in (self.original, self.repaired)]
        return places[0] <= places[1]

    def targets(self, cluster, kind):
        d = self.damaged
        words = cells(d.data, cluster << d.bits, d.cluster // 8)
        for word in words[::1 if kind == "l1" else d.step]:
            if kind == "l2" and word & COMPRESSED:
                offset, size = d.compressed_place(word)
                yield from range(offset >> d.bits, (offset + size - 1 >> d.bits) + 1)
            elif word & OFFSET:
                yield (word & OFFSET) >> d.bits if kind == "l1" or not d.external else None

    def accounted(self, cluster):
        if cluster is None:
            return False  # in the data file, which has no refcounts
        references = len(self.are.get(cluster, ()))
        return references > 0 and (self.damaged.refcount(cluster) or 0) <= references


    def written(self):
        for cluster, were in sorted(self.were.items()):
            old = self.original.bytes_of(cluster)
            if {r[0] for r in were} <= {"data", "compressed"} and old == self.damaged.bytes_of(cluster) and \
                    old != self.repaired.bytes_of(cluster)[:len(old)]:
                yield f"written: cluster {cluster} ({told(were)}) is the guest's data and was written over"

    def strange_tables(self):
        """(state, L1 index, cluster) of L1 entries that the damage led to what was no table, and still lead there."""
        for cluster, are in sorted(self.are.items()):
            if any(r[0] == "l2" for r in self.were.get(cluster, ())):
                continue
            for kind, state, index in sorted(are, key=str):
                if kind == "l2" and state in self.original.states and state in self.repaired.states and \
                        (self.original.l1(state)[index] & OFFSET) and index < self.repaired.states[state][1] and \
                        (self.repaired.l1(state)[index] & OFFSET) >> self.original.bits == cluster:
                    yield state, index, cluster


def unsound(reader, code):
    """What is wrong with an image that the program calls good (0), or good but for leaks (1)."""
    found = reader.references()
    for cluster in range(reader.clusters):
        refcount, references = reader.refcount(cluster) or 0, len(found.get(cluster, ()))
        if refcount < references or code == 0 and refcount > references:
            yield f"sound: exit code {code}, but cluster {cluster} has refcount {refcount} and {references} references"
    for state in reader.states:
        words = [word for word in reader.l1(state) if word & OFFSET]
        words += [entry for _, entry, _ in reader.entries(state) if entry and not reader.external]
        for word in words if state == "active" else ():
            alone = reader.refcount((word & OFFSET) >> reader.bits) == 1
            if word & OFFSET and not word & COMPRESSED and bool(word & COPIED) != alone:
                yield f"sound: exit code {code}, but COPIED is wrong in the entry {word:#x} of {state}"


def told(references):
    return ", ".join(" ".join(str(x) for x in r if x != "") for r in sorted(references, key=str)[:3])


def listed(numbers):
    return ", ".join(map(str, numbers[:6])) + (f" and {len(numbers) - 6} more" if len(numbers) > 6 else "")


def losses(original, damaged, repaired, code=6, later=False, suspected=False):
    """([loss], [(explanation, text)]) of three readers. `code`: the exit code of the repair; `later`: not the first one;
    `suspected`: it says that data looks lost."""
    if repaired is None or damaged and damaged.bits != original.bits:
        damaged = None
    if repaired is None or repaired.bits != original.bits:
        return [], []
    found, explained = [], []
    if damaged:
        found += States(original, damaged, repaired).losses()
        clusters = Clusters(original, damaged, repaired)
        found += clusters.written()
        if code < (1 if suspected else 4):
            found += [f"known: L1 entry {index} of {state} still leads to cluster {cluster}, no table, but exit code {code}"
                      for state, index, cluster in clusters.strange_tables()]
        for text, why in clusters.losses(later):
            if why:
                explained.append((why, text))
            else:
                found.append(text)
    if code < 2:
        found += unsound(repaired, code)
    if original.outside != repaired.outside:
        found.append("content: the data file was changed")
    return found, explained
