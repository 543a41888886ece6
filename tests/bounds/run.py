#!/usr/bin/env python3
"""Small files made to cost much: each must stay within what its stored bytes allow, however long it says it is.

    run.py QCOW2-DUMP [NAME...] [--list] [--instructions]

Seconds say little on a machine that has other things to do, so nothing here is timed. Held are, for every case:

    memory         at most the bytes that the file stores (or will, by the plan) and 64 MiB, as the system counts what was
                   resident
    address space  1 GiB (ulimit -v)
    work           what --stats counts: tables and runs of entries, reads and bytes, all in proportion to stored bytes
    output         at most 64 MiB
    totals         as qemu-img check counts them, where it comes to an end

--instructions counts those, too, by valgrind, and takes many minutes: as many for a MiB as two seconds take.
"""

import argparse
import json
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

MiB = 1 << 20
COPIED, COMPRESSED = 1 << 63, 1 << 62
MOST_MEMORY, MOST_OUTPUT, ADDRESS_SPACE = 64 * MiB, 64 * MiB, 1 << 30
MOST_INSTRUCTIONS = 8_000_000_000
MOST_WORK = {"bytes_read": 512 * MiB, "reads": 300_000, "tables": 300_000, "runs": 2_000_000}  # for a MiB stored
TOO_LARGE = 256 - 27  # the exit status where a refcount table for the file would be larger than any can be
LIMIT_SECONDS = 300  # of a run that doesn't end; not what is held
LARGEST_EXT4 = (1 << 44) - 65536


def be64(values):
    return struct.pack(f">{len(values)}Q", *values)


class Forged:
    """A file written piece by piece, with a header that says whatever it is told to."""

    def __init__(self, path, bits=16, size=1 << 28, **fields):
        self.path, self.bits, self.cluster = path, bits, 1 << bits
        self.fields = {"backing_offset": 0, "backing_size": 0, "bits": bits, "size": size, "crypt": 0, "l1_size": 1,
                       "l1": 0, "reftable": 0, "reftable_clusters": 1, "snapshots": 0, "snapshot_offset": 0,
                       "incompatible": 0, "compatible": 0, "autoclear": 0, "order": 4, **fields}
        self.extensions = b""
        self.file = open(path, "wb")
        self.length = 0

    def put(self, offset, data):
        self.file.seek(offset)
        self.file.write(data)
        self.length = max(self.length, offset + len(data))

    def entries(self, offset, values):
        self.put(offset, be64(values))

    def end(self, length=0):
        f = self.fields
        header = b"QFI\xfb" + struct.pack(
            ">IQIIQIIQQIIQQQQII", 3, f["backing_offset"], f["backing_size"], f["bits"], f["size"], f["crypt"],
            f["l1_size"], f["l1"], f["reftable"], f["reftable_clusters"], f["snapshots"], f["snapshot_offset"],
            f["incompatible"], f["compatible"], f["autoclear"], f["order"], 104)
        self.put(0, header + self.extensions)
        self.file.truncate(max(length, -(-self.length // self.cluster) * self.cluster))
        self.file.close()

    def extension(self, kind, data):
        self.extensions += struct.pack(">II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")

    def refcounts(self, table, block, count):
        """A refcount table with one block, which says 1 for the first `count` clusters."""
        self.fields["reftable"] = table
        self.entries(table, [block])
        self.put(block, struct.pack(">H", 1) * count)


def snapshot(offset, size, number, name, disk=1 << 28):
    identity = str(number).encode()
    entry = struct.pack(">QIHHIIQII", offset, size, len(identity), len(name), 0, 0, 0, 0, 16)
    entry += struct.pack(">QQ", 0, disk) + identity + name
    return entry.ljust(-(-len(entry) // 8) * 8, b"\0")


# ---- the cases: each makes a file at `path`

def one_block_for_all(path):
    f = Forged(path, l1=0x20000, reftable_clusters=10)
    f.put(0x20000, bytes(65536))
    f.refcounts(0x30000, 0x10000, 13)
    f.entries(0x30000, [0x10000] * (10 * 65536 // 8))
    f.end()


def garbage_for_all(path, entries=8192):
    """The one block holds something else, and is large."""
    cluster = 1 << 21
    f = Forged(path, bits=21, l1=3 * cluster, reftable=cluster)
    f.entries(cluster, [2 * cluster] * entries)
    f.put(2 * cluster, b"\xff" * 65536)
    f.entries(3 * cluster, [0])
    f.end()


def scattered(path, length=LARGEST_EXT4, stored=MiB):
    """Each entry leads to a place of its own, far from all others."""
    bits, cluster = 9, 512
    tables = stored // cluster
    f = Forged(path, bits, size=tables * 64 * cluster, l1_size=tables)
    f.refcounts(0x200, 0x400, 3)
    f.fields["l1"] = 0x10000
    base = 0x10000 + -(-tables * 8 // cluster) * cluster
    f.entries(0x10000, [COPIED | base + i * cluster for i in range(tables)])
    step = (length - 2 * base - stored) // (tables * 64) // cluster * cluster
    first = base + stored + 0x10000 & ~511
    for i in range(tables):
        # Neighbours in a table are far apart, too.
        f.entries(base + i * cluster, [COPIED | first + (k * tables + i) * step for k in range(64)])
    f.end(length)


def scattered_64k(path, length=15 << 40):
    """The same with clusters of 64 KiB: a plan of refcount blocks for all of it is possible. Returns how long these are."""
    cluster, tables = 65536, 8
    entries = cluster // 8
    f = Forged(path, 16, size=tables * entries * cluster, l1_size=tables)
    f.refcounts(cluster, 2 * cluster, 3)
    f.fields["l1"] = 3 * cluster
    f.entries(3 * cluster, [COPIED | (4 + i) * cluster for i in range(tables)])
    step = length // (tables * entries) // cluster * cluster
    for i in range(tables):
        f.entries((4 + i) * cluster, [COPIED | 32 * cluster + (k * tables + i) * step - step // 2 * (k > 0)
                                      for k in range(entries)])
    f.end(length)
    return length // cluster * 2


def vast(path):
    """Nothing but a header, and as long as a file can be named."""
    f = Forged(path, 9, size=1 << 20)
    f.refcounts(0x200, 0x400, 4)
    f.fields["l1"] = 0x600
    f.put(0x600, bytes(512))
    f.end(1 << 56)


def vast_and_scattered(path):
    scattered(path, 1 << 56)


def own_l2(path, bits=16, length=131072):
    """The L1 table's entries name the L1 table's own clusters."""
    f = Forged(path, bits, size=length // 8 << 2 * bits - 3, l1_size=length // 8)
    cluster = 1 << bits
    f.refcounts(cluster, 2 * cluster, 3 + length // cluster)
    f.fields["l1"] = 3 * cluster
    clusters = length // cluster
    f.entries(3 * cluster, [COPIED | 3 * cluster + i % clusters * cluster for i in range(length // 8)])
    f.end()


def own_l2_small(path):
    own_l2(path, 12, 16384)


def own_l2_large(path):
    own_l2(path, 18, 786432)


def one_table(path, entries=8192):
    """Every L1 entry names one L2 table, which is full of one compressed cluster."""
    import zlib
    compressor = zlib.compressobj(9, zlib.DEFLATED, -12)
    payload = compressor.compress(bytes(range(256)) * 256) + compressor.flush()
    f = Forged(path, size=entries << 29, l1_size=entries)
    f.refcounts(0x10000, 0x20000, 6)
    f.fields["l1"] = 0x30000
    f.entries(0x30000, [0x40000] * entries)
    sectors = (len(payload) + 511) // 512 - 1
    f.entries(0x40000, [COMPRESSED | sectors << 54 | 0x50000] * 8192)
    f.put(0x50000, payload)
    f.end()


def one_table_of_data(path, entries=6000):
    """Every L1 entry names one L2 table, which is full of data: copies for all would be much longer than the image."""
    f = Forged(path, size=entries << 29, l1_size=entries)
    f.refcounts(0x10000, 0x20000, 6)
    f.fields["l1"] = 0x30000
    f.entries(0x30000, [COPIED | 0x40000] * entries)
    f.entries(0x40000, [COPIED | 0x50000 + i * 65536 for i in range(8192)])
    f.end(0x50000 + 8192 * 65536)


def one_table_small(path):
    one_table(path, 64)


def snapshots_of_one_table(path):
    """Snapshots that all have the L1 table of the disk."""
    count = MiB // 64
    f = Forged(path, l1=0x40000, l1_size=8192, size=1 << 42)
    f.refcounts(0x10000, 0x20000, 30)
    f.entries(0x40000, [COPIED | 0x50000] * 8192)
    f.entries(0x50000, [COPIED | 0x60000 + i * 65536 for i in range(8192)])
    f.fields["snapshot_offset"] = 0x60000
    table = b"".join(snapshot(0x40000, 8192, i, b"s", 1 << 42) for i in range(count))
    f.fields["snapshots"] = count
    f.put(0x60000, table)
    f.end()


def snapshots_overlapping(path):
    """Snapshots whose L1 tables begin a cluster later each."""
    f = Forged(path, 9, l1=0x600, size=1 << 20)
    f.refcounts(0x200, 0x400, 30)
    f.put(0x600, bytes(512))
    f.fields["snapshot_offset"] = 0x1000
    count = MiB // 64
    table = b"".join(snapshot((1 << 30) + i * 512, 1 << 22, i, b"s") for i in range(count))
    f.fields["snapshots"] = count
    f.put(0x1000, table)
    f.end((1 << 30) + count * 512 + (1 << 25))


def snapshots_apart(path):
    """Snapshots whose L1 tables lie in a hole, each as long as one can be."""
    count, first, each = MiB // 64, 1 << 30, 1 << 25
    f = Forged(path, l1=0x30000, size=1 << 20)
    f.refcounts(0x10000, 0x20000, 30)
    f.put(0x30000, bytes(512))
    f.fields.update(snapshots=count, snapshot_offset=0x40000)
    f.put(0x40000, b"".join(snapshot(first + i * each, each // 8, i, b"s") for i in range(count)))
    f.end(first + count * each)


def bitmaps_apart(path):
    """Bitmaps whose tables do."""
    count, first, each = MiB // 64, 1 << 30, 1 << 25
    f = Forged(path, l1=0x30000, size=1 << 20, autoclear=1)
    f.refcounts(0x10000, 0x20000, 30)
    f.put(0x30000, bytes(512))
    names = [b"%08d" % i for i in range(count)]
    directory = b"".join(struct.pack(">QIIBBHI", first + i * each, each // 8, 0, 1, 16, 8, 0) + names[i]
                         for i in range(count))
    f.extension(0x23852875, struct.pack(">IIQQ", count, 0, len(directory), 0x40000))
    f.put(0x40000, directory)
    f.end(first + count * each)


def long_names(path):
    f = Forged(path, l1=0x30000)
    f.refcounts(0x10000, 0x20000, 40)
    f.put(0x30000, bytes(65536))
    f.fields["snapshot_offset"] = 0x40000
    name = b"n" * 4096
    count = 507
    table = b"".join(snapshot(0x30000, 1, 7, name) for i in range(count))
    f.fields["snapshots"] = count
    f.put(0x40000, table)
    f.end()


def longest_names(path):
    """507 names of 64 KiB, in a hole but for the fields before them."""
    f = Forged(path, l1=0x30000)
    f.refcounts(0x10000, 0x20000, 520)
    f.put(0x30000, bytes(65536))
    count = 507
    f.fields.update(snapshots=count, snapshot_offset=0x40000)
    entry = snapshot(0x30000, 1, 7, bytes(65535))
    for i in range(count):
        f.put(0x40000 + i * len(entry), entry[:64])
    f.end(0x40000 + count * len(entry))


def crypt_header(path):
    """An encryption header as long as the file, which is nothing but a hole."""
    f = Forged(path, 9, l1=0x600, size=1 << 20, crypt=2)
    f.refcounts(0x200, 0x400, 4)
    f.put(0x600, bytes(512))
    f.extension(0x0537be77, be64([0x800, LARGEST_EXT4 - 0x1000]))
    f.end(LARGEST_EXT4)


SHARED_MEMORY = "/dev/shm"  # holds files that other file systems can't

CASES = [
    # name, maker, arguments, does qemu-img check come to an end?
    ("one-block-for-all", one_block_for_all, [], True),
    ("one-block-for-all-plan", one_block_for_all, ["-R", "all", "--dry-run"], False),
    ("garbage-for-all", garbage_for_all, [], False),
    ("garbage-for-all-plan", garbage_for_all, ["-R", "all", "--dry-run"], False),
    ("scattered", scattered, [], False),
    ("scattered-json", scattered, ["--json"], False),
    ("scattered-plan", scattered, ["-R", "all", "--dry-run"], False),
    ("scattered-64k", scattered_64k, [], False),
    ("scattered-64k-plan", scattered_64k, ["-R", "all", "--dry-run"], False),
    ("vast", vast, [], False),
    ("vast-plan", vast, ["-R", "all", "--dry-run"], False),
    ("vast-info", vast, ["-m", "info"], False),
    ("vast-dump", vast, ["-m", "dump"], False),
    ("vast-and-scattered", vast_and_scattered, [], False),
    ("own-l2", own_l2, [], False),
    ("own-l2-plan", own_l2, ["-R", "all", "--dry-run"], False),
    ("own-l2-small", own_l2_small, [], True),
    ("own-l2-large", own_l2_large, [], False),
    ("one-table", one_table, [], False),
    ("one-table-small", one_table_small, [], True),
    ("one-table-decompressed", one_table, ["-c"], False),
    ("one-table-of-data-plan", one_table_of_data, ["-R", "all", "--dry-run"], False),
    ("snapshots-of-one-table", snapshots_of_one_table, [], False),
    ("snapshots-overlapping", snapshots_overlapping, [], False),
    ("snapshots-apart", snapshots_apart, [], False),
    ("snapshots-apart-plan", snapshots_apart, ["-R", "all", "--dry-run"], False),
    ("bitmaps-apart", bitmaps_apart, [], False),
    ("long-names", long_names, [], True),
    ("long-names-json", long_names, ["--json"], True),
    ("longest-names-json", longest_names, ["--json"], True),
    ("longest-names-info", longest_names, ["-m", "info"], True),
    ("crypt-header", crypt_header, [], False),
]


# ---- measuring

def limit():
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_SECONDS, LIMIT_SECONDS))


class Measured:
    def __init__(self, program, image, arguments, folder):
        output, errors = os.path.join(folder, "output"), os.path.join(folder, "errors")
        with open(output, "wb") as out, open(errors, "wb") as err:
            process = subprocess.Popen([program, "--stats", *arguments, image], stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=err, preexec_fn=limit)
            _, status, usage = os.wait4(process.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        self.memory = usage.ru_maxrss * 1024
        self.seconds = usage.ru_utime + usage.ru_stime
        self.output = os.path.getsize(output)
        with open(errors, encoding="utf-8", errors="replace") as err:
            self.errors = err.read()
        found = re.search(r"^total +[\d.]+ +[\d.]+ +([\d.]+) +(\d+) +(\d+) +(\d+)", self.errors, re.MULTILINE)
        self.bytes_read = float(found[1]) * MiB if found else 0
        self.reads, self.tables, self.runs = (int(found[n]) for n in (2, 3, 4)) if found else (0, 0, 0)

    def faults(self, bytes_stored):
        if self.status not in (*range(7), TOO_LARGE):
            yield f"exit status {self.status}: {self.errors.strip()[-300:]}"
        if self.memory > bytes_stored + MOST_MEMORY:
            yield f"{self.memory / MiB:.1f} MiB of memory for {bytes_stored / MiB:.1f} MiB stored"
        if self.output > MOST_OUTPUT:
            yield f"{self.output / MiB:.1f} MiB of output"
        share = max(bytes_stored, MiB) / MiB
        for name, most in MOST_WORK.items():
            if getattr(self, name) > most * share:
                yield f"{name}: {getattr(self, name):.0f} for {bytes_stored / MiB:.1f} MiB stored; {most} for one"


def instructions(program, image, arguments, folder):
    log = os.path.join(folder, "instructions")
    subprocess.run(["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
                    f"--log-file={log}", program, "-j", "1", *arguments, image], stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    with open(log, encoding="utf-8", errors="replace") as file:
        found = re.search(r"I +refs: +([\d,]+)", file.read())
    return int(found[1].replace(",", ""))


def totals(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    found = json.loads(done.stdout)
    found = found.get("totals", found)
    return {key: found.get(key, 0) for key in ("corruptions", "leaks", "check-errors", "image-end-offset",
                                               "allocated-clusters", "fragmented-clusters", "compressed-clusters")}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--instructions", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(case[0] for case in CASES))
        return
    if not os.access(SHARED_MEMORY, os.W_OK):
        print(f"there is no {SHARED_MEMORY}")
        sys.exit(77)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="bounds.") as folder, \
         tempfile.TemporaryDirectory(prefix="bounds.", dir=SHARED_MEMORY) as long_files:
        for name, make, arguments, oracle in CASES:
            if options.names and name not in options.names:
                continue
            path = os.path.join(long_files if make in (vast, vast_and_scattered) else folder, "image.qcow2")
            planned = make(path) or 0
            stored = os.stat(path).st_blocks * 512 + (planned if "--dry-run" in arguments else 0)
            measured = Measured(options.program, path, arguments, folder)
            faults = list(measured.faults(stored))
            if oracle and not faults and shutil.which("qemu-img"):
                ours = totals([options.program, "--json", path])
                theirs = totals(["qemu-img", "check", "--output=json", path])
                if ours != theirs:
                    faults.append(f"totals {ours}\n  qemu-img says {theirs}")
            print(f"{'FAIL' if faults else 'ok  '} {name:24} {stored / MiB:6.2f} MiB stored, "
                  f"{measured.memory / MiB:7.1f} MiB of memory, {measured.output / MiB:6.2f} of output, "
                  f"{measured.bytes_read / MiB:8.1f} read in {measured.reads}, {measured.tables} tables, "
                  f"{measured.runs} runs, {measured.seconds:.2f} s of processors", flush=True)
            if options.instructions:
                count = instructions(options.program, path, arguments, folder)
                print(f"     {count / 1e9:.2f} billion instructions")
                if count > MOST_INSTRUCTIONS * max(stored / MiB, 1):
                    faults.append("too many instructions")
            for fault in faults:
                print(f"  {fault}")
            failed += bool(faults)
            os.remove(path)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
