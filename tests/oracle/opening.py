#!/usr/bin/env python3
"""What QEMU refuses to open is never good: damaged headers and header extensions, opened by both.

    opening.py BINARY [--cases N] [--seed S] [--only BASE] [--keep FOLDER] [--both]

Each case damages the first cluster of a healthy image, one to three times: fields of the header, its extensions, single
bits. qemu-io opens it for reading, with the files it needs; what it refuses must have an exit code of 5 at least here.
CI runs a few hundred cases; --cases 10000 takes a quarter of an hour.
--both lists the opposite, too: what QEMU opens although we say that a field of the header is wrong.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
import folders  # noqa: E402
import mkimage  # noqa: E402
import qcow2  # noqa: E402
import qemu  # noqa: E402
from damages.fuzz import nonsense  # noqa: E402

BASES = """healthy-v3 healthy-v2 healthy-v2-512 healthy-cluster-512 healthy-snapshots healthy-bitmaps healthy-backing
    healthy-data-file healthy-data-file-raw healthy-luks healthy-aes healthy-extended-l2-16k healthy-zstd healthy-zlib
    healthy-header-104 healthy-header-longer healthy-unknown-extension healthy-no-feature-names
    healthy-refcount-bits-1 healthy-snapshot-extra-8-v2""".split()
BATCH = 40
TYPES = [0, 1, 0xE2792ACA, 0x6803F857, 0x23852875, 0x0537BE77, 0x44415441, 0x12345678]
# What another program than QEMU may be able to open: names that aren't files, keys that we don't have.
BEYOND_THE_IMAGE = re.compile("Unknown protocol|[Kk]ey-secret|encrypt")


def field(image, rng):
    """nonsense in a field"""
    name = rng.choice([f for f in qcow2.HEADER if image.version >= 3 or qcow2.HEADER[f][0] < 72])
    image[name] = nonsense(image, rng, image[name], 8 * qcow2.HEADER[name][1])


def bit(image, rng):
    """one bit, of the header or what follows"""
    at = rng.randrange(4, rng.choice([72, 112, 112, 512]))
    image.put(at, image.get(at, 1) ^ 1 << rng.randrange(8), 1)


def extension(image, rng):
    """one extension's type, length or a byte of its content, or the marker's behind the last"""
    places = [e.at - 8 for e in image.extensions()]
    end = max([e.at + qcow2.align(len(e.data), 8) for e in image.extensions()] + [image.header_length])
    at = rng.choice([*places, end])
    what = rng.randrange(3)
    if what == 0:
        image.put(at, rng.choice(TYPES), 4)
    elif what == 1:
        image.put(at + 4, nonsense(image, rng, image.get(at + 4, 4), 32), 4)
    else:
        image.put(at + 8 + rng.randrange(24), rng.getrandbits(8), 1)


def extensions(image, rng):
    """a list of them that says anything"""
    body = b""
    for _ in range(rng.randrange(1, 4)):
        kind, size = rng.choice(TYPES), rng.choice([0, 1, 5, 8, 15, 16, 17, 24, 48, 400])
        claimed = size if rng.randrange(3) else rng.choice([0, 1 << 31, 0xFFFFFFFF, image.cluster_size, size + 8])
        content = rng.choice([b"raw", b"qcow2", bytes(size), rng.randbytes(size), b"d" * size])
        body += struct.pack(">II", kind, claimed) + content[:size].ljust(qcow2.align(size, 8), b"\0")
    if rng.randrange(2):
        body += struct.pack(">II", 0, rng.choice([0, 0, 8, image.cluster_size, 0xFFFFFFFF]))
    image.write(image.header_length, body[:image.cluster_size - image.header_length])


def backing(image, rng):
    """a backing file's name of any length, anywhere"""
    size = image.cluster_size
    image["backing_file_offset"] = rng.choice([1, 8, 104, 112, 200, 512, size - 1024, size - 1023, size - 1, size,
                                               size + 1]) & 0xFFFFFFFF
    image["backing_file_size"] = rng.choice([0, 1, 8, 1022, 1023, 1024, 4096])


KINDS = [field, field, bit, extension, extension, extensions, backing]


def damage(path, seed):
    with qcow2.Image(path) as image:
        rng = random.Random(seed)
        for _ in range(rng.choice([1, 1, 2, 3])):
            rng.choice(KINDS)(image, rng)


def qemu_opens(folder, names):
    """name -> why QEMU doesn't open it, nothing where it does"""
    script = "".join(f"open -r -o driver=qcow2,file.filename={name}\n@{name}\nclose\n" for name in names)
    done = subprocess.run(["qemu-io"], cwd=folder, input=script, capture_output=True, text=True, errors="replace",
                          timeout=300, check=False)
    # Names from damaged headers are printed as they are, line ends included.
    parts = re.split(r'command "@([^"]*)" not found\n', done.stderr)
    said = {}
    for before, name in zip(parts[::2], parts[1::2]):
        refused = re.search("can't open[^:]*: (.*)", before, re.DOTALL)
        said[name] = refused[1].strip() if refused else None
    if len(said) != len(names):
        raise RuntimeError(f"qemu-io exits with {done.returncode}: {done.stderr[-300:]}")
    return said


def our_reports(binary, folder, names):
    done = subprocess.run([binary, "--json", *names], cwd=folder, capture_output=True, check=False)
    text, reports, decoder = done.stdout.decode(), [], json.JSONDecoder()
    while text.strip():
        report, end = decoder.raw_decode(text.lstrip())
        reports.append(report)
        text = text.lstrip()[end:]
    return dict(zip(names, reports, strict=True))


def run_batch(job):
    base, built, seeds, binary, keep, both = job
    wrong, refused = [], 0
    with tempfile.TemporaryDirectory(prefix="opening-") as parent:
        folder = os.path.join(parent, "case")
        folders.copy(os.path.join(built, base), folder)
        original = os.path.join(folder, "image.qcow2")
        names = [f"{seed}.qcow2" for seed in seeds]
        for seed, name in zip(seeds, names):
            shutil.copyfile(original, os.path.join(folder, name))
            damage(os.path.join(folder, name), f"{base}/{seed}")
        theirs, ours = qemu_opens(folder, names), our_reports(binary, folder, names)
        for name, report in ours.items():
            why, code = theirs[name], report["exit-code"]
            if why and BEYOND_THE_IMAGE.search(why):
                why = qemu.refusal(folder, name)
            refused += why is not None
            if why and code < 5:
                wrong.append((f"{base}/{name}", f"exits with {code}, QEMU refuses: {why}"))
            found = {p["code"] for p in report["problems"] if p["severity"] == "error"}
            if both and not why and (odd := {c for c in found if c.startswith("header.")} - {"header.corrupt"}):
                wrong.append((f"{base}/{name}", f"QEMU opens it, we say {' '.join(sorted(odd))}"))
            if keep and wrong and wrong[-1][0] == f"{base}/{name}":
                shutil.copy(os.path.join(folder, name), os.path.join(keep, f"{base}-{name}"))
    return len(names), refused, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("binary")
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="damage only this image")
    parser.add_argument("--keep", help="leave images of failing cases in this folder")
    parser.add_argument("--both", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    names = [options.only] if options.only else BASES
    each = max(1, options.cases // len(names))
    cases = refused = failed = 0
    with tempfile.TemporaryDirectory(prefix="opening-base-") as built, mkimage.cache(), \
            multiprocessing.Pool(options.jobs) as pool:
        for name in names:
            recipe = os.path.join(HERE, "..", "images", name, "recipe")
            mkimage.Recipe.load(recipe).build(os.path.join(built, name))
        jobs = []
        for name in names:
            seeds = range(options.seed, options.seed + each)
            jobs += [(name, built, seeds[at:at + BATCH], os.path.abspath(options.binary), options.keep, options.both)
                     for at in range(0, each, BATCH)]
        for count, no, wrong in pool.imap(run_batch, jobs):
            cases, refused, failed = cases + count, refused + no, failed + len(wrong)
            for name, why in wrong:
                print(f"FAILED {name}: {why}", flush=True)
    print(f"{cases} damaged headers, QEMU refuses {refused}; {failed} answered wrongly")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
