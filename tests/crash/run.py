#!/usr/bin/env python3
"""Cuts every repair of the images of tests/images at each of its operations; crash_test.cc tells what must hold then.

    run.py CRASH-TESTS [NAME…]      NAME: a folder of tests/images, or a pattern such as 'snapshot.*'

Images of more than 8 MiB are left out, those that take long to make and damage nothing that others
don't, and one in which the guest reads refcounts.
"""

import argparse
import fnmatch
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGES = os.path.join(HERE, "..", "images")
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
import mkimage  # noqa: E402

LARGEST = 8 << 20
# What the guest reads through it are refcounts, and these a repair changes.
UNSTABLE = {"l1.no-table-refblock"}
SLOW = {"healthy-luks", "healthy-luks-512"}  # LUKS keys are made to cost time
TIMEOUT = 120


def cut(job):
    """(name, totals or None if the image is too large, what went wrong)"""
    name, program = job
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        image = mkimage.Recipe.load(os.path.join(IMAGES, name, "recipe")).build(folder)
        if os.path.getsize(image) > LARGEST:
            return name, None, ""
        try:
            done = subprocess.run([program, os.path.basename(image)], cwd=folder, capture_output=True, text=True,
                                  timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            return name, [0] * 4, f"still running after {TIMEOUT} seconds"
    last = re.search(r"^repairs (\d+) cuts (\d+) states (\d+) forced (\d+)\n\Z", done.stdout, re.MULTILINE)
    totals = [int(number) for number in last.groups()] if last else [0] * 4
    wrong = (done.stdout[:last.start()] if last else done.stdout) + done.stderr
    if done.returncode != 0 or not last:
        wrong += f"ended with {done.returncode}"
    return name, totals, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("program")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--part", type=int, default=1, metavar="N", help="every Nth of them")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    program, start = os.path.abspath(options.program), time.monotonic()
    names = sorted(n for n in os.listdir(IMAGES) if os.path.exists(os.path.join(IMAGES, n, "recipe")) and n not in SLOW | UNSTABLE)
    names = [n for n in names if not options.names or any(fnmatch.fnmatch(n, p) for p in options.names)][::options.part]
    images = large = failed = 0
    sums = [0] * 4
    with mkimage.cache(), multiprocessing.Pool(options.jobs) as pool:
        for name, totals, wrong in pool.imap_unordered(cut, [(name, program) for name in names]):
            if wrong:
                failed += 1
                print(f"FAILED {name}\n{wrong.rstrip()}\n", flush=True)
            large += totals is None
            images += bool(totals and totals[0])
            sums = [a + b for a, b in zip(sums, totals or [0] * 4)]
    print(f"{images} images, {sums[0]} repairs, {sums[1]} cuts that left {sums[2]} different states, "
          f"{sums[3]} of them with leaks that take --force, "
          f"{time.monotonic() - start:.0f} seconds; {large} larger images left out; {failed} failed")
    return 1 if failed or not sums[1] else 0


if __name__ == "__main__":
    sys.exit(main())
