#!/usr/bin/env python3
"""Damaged images through `qemu-img check` and through qcow2-dump: the same totals, the same verdict.

    run.py BINARY [--list] [--jobs N] [--only PATTERN]

The matrix stands in cases.py; the damages in tests/tools/damages. Where qemu-img ends its check, all eight totals must
be equal, and so must the class of the status (good, leaks only, worse). We may be stricter only by errors that the
damage announces. Where qemu-img gives up, we must find an error. A failing case is printed with the commands that show
it; --keep FOLDER leaves the images of failing cases there.
"""

import argparse
import fnmatch
import json
import multiprocessing
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.join(HERE, "..", "tools")
sys.path.insert(0, TOOLS)
import cases as matrix  # noqa: E402
import damages  # noqa: E402
import mkimage  # noqa: E402
import qcow2  # noqa: E402

TOTALS = ("corruptions", "leaks", "check-errors", "image-end-offset", "total-clusters", "allocated-clusters",
          "fragmented-clusters", "compressed-clusters")
# qemu-img check exits with -> our exit codes of that class. 1: it met errors on its way, but came to the end.
CLASSES = {0: range(0, 1), 3: range(1, 2), 2: range(2, 7), 1: range(2, 7)}
LEAST_COMPARED = 300
TIMEOUT = 60


def qemu_command(case):
    options = {"driver": "qcow2", "backing": None, "file": {"driver": "file", "filename": "image.qcow2"}}
    if "luks" in case.base or "aes" in case.base:
        options["encrypt"] = {"format": "luks" if "luks" in case.base else "aes", "key-secret": "key"}
    if "data-file-lost" in case.damages:
        options["data-file"] = {"driver": "null-co", "size": 16 << 20}
    secret = mkimage.SECRET if "encrypt" in options else []
    return ["qemu-img", "check", "--output=json", *secret, "json:" + json.dumps(options)]


def qemu_check(case, folder):
    """(exit code, totals or nothing)"""
    done = subprocess.run(qemu_command(case), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          timeout=TIMEOUT, check=False)
    if not done.stdout.strip():
        return done.returncode, None
    report = json.loads(done.stdout)
    return done.returncode, {key: report.get(key, 0) for key in TOTALS}


def our_command(binary):
    return [binary, "--json", "--compress", "image.qcow2"]


def our_check(binary, folder):
    """(exit code, report)"""
    done = subprocess.run(our_command(binary), cwd=folder, capture_output=True, timeout=TIMEOUT, check=False)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, None


def judge(case, announced, qemu, ours):
    """What is wrong with our answer."""
    (qemu_code, totals), (code, report) = qemu, ours
    if report is None or not 0 <= code <= 6:
        return [f"exits with {code} and {'a' if report else 'no'} report"]
    found = {p["code"] for p in report["problems"]}
    errors = {p["code"] for p in report["problems"] if p["severity"] == "error"}
    wrong = []
    required = [code for code in announced if not code.endswith("?")] if len(case.damages) == 1 else []
    if missing := {code for code in required if not found & set(code.split("|"))}:
        wrong.append(f"does not find {' '.join(sorted(missing))}, but {' '.join(sorted(found)) or 'nothing'}")
    if totals is None:
        if not errors and case.base not in matrix.BEYOND_QEMU:
            wrong.append(f"finds no error where qemu-img gives up with {qemu_code}")
        return wrong
    wrong += [f"{key} {report['totals'].get(key)} instead of {totals[key]}"
              for key in TOTALS if report["totals"].get(key) != totals[key]]
    patterns = [pattern for code in announced for pattern in code.rstrip("?").split("|")]
    right = CLASSES.get(qemu_code, ())
    if code in right:
        return wrong
    if not right or code < right[0]:
        wrong.append(f"exits with {code}, qemu-img with {qemu_code}")
    elif unannounced := {e for e in errors if not any(fnmatch.fnmatch(e, p) for p in patterns)}:
        wrong.append(f"exits with {code}, qemu-img with {qemu_code}, because of {' '.join(sorted(unannounced))}")
    elif not errors:
        wrong.append(f"exits with {code}, qemu-img with {qemu_code}, for no reason")
    return wrong


def copy_folder(source, target):
    """Copies files with their holes: some are a terabyte long."""
    os.mkdir(target)
    for name in os.listdir(source):
        with open(os.path.join(source, name), "rb", buffering=0) as old, \
                open(os.path.join(target, name), "wb", buffering=0) as new:
            end = os.fstat(old.fileno()).st_size
            new.truncate(end)
            at = 0
            while at < end:
                try:
                    at = os.lseek(old.fileno(), at, os.SEEK_DATA)
                except OSError:  # nothing but a hole up to the end
                    break
                stop = os.lseek(old.fileno(), at, os.SEEK_HOLE)
                os.pwrite(new.fileno(), os.pread(old.fileno(), min(stop - at, 1 << 20), at), at)
                at = min(stop, at + (1 << 20))


def run_case(job):
    """(case, complaints, whether all totals were compared)"""
    case, binary, built, keep = job
    with tempfile.TemporaryDirectory(prefix="oracle-") as parent:
        folder = os.path.join(parent, "case")
        copy_folder(os.path.join(built, case.base), folder)
        announced = []
        try:
            for wanted in case.damages:
                announced += damages.apply(os.path.join(folder, "image.qcow2"), wanted, case.seed)
        except (qcow2.Unsuitable, ValueError) as error:
            return case, [f"the damage can't be done: {error!r}"], False
        try:
            qemu = qemu_check(case, folder)
            wrong = judge(case, announced, qemu, our_check(binary, folder))
        except subprocess.TimeoutExpired as late:
            return case, [f"{late.cmd[0]} takes more than {TIMEOUT} seconds"], False
        if wrong and keep:
            shutil.copytree(folder, os.path.join(keep, str(case).replace("/", "_")), dirs_exist_ok=True)
        return case, wrong, qemu[1] is not None


def reproduce(case, binary):
    steps = [["tests/tools/mkimage.py", os.path.relpath(matrix.bases()[case.base]), "/tmp/case"], ["cd", "/tmp/case"]]
    steps += [[os.path.join(os.path.relpath(TOOLS), "damage.py"), "image.qcow2", d, "--seed", str(case.seed)]
              for d in case.damages]
    steps += [qemu_command(case), our_command(binary)]
    return " && ".join(shlex.join(step) for step in steps[:-2]) + "; " + "; ".join(map(shlex.join, steps[-2:]))


def build(job):
    name, recipe, built, cache = job
    return name, mkimage.Recipe.load(recipe).build(os.path.join(built, name), cache)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("binary")
    parser.add_argument("--list", action="store_true", help="print the cases, run none")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="run the cases that match this pattern (BASE/DAMAGE/SEED)")
    parser.add_argument("--keep", help="leave images of failing cases in this folder")
    options = parser.parse_intermixed_args()
    started, binary = time.monotonic(), os.path.abspath(options.binary)
    with tempfile.TemporaryDirectory(prefix="oracle-base-") as built, \
            tempfile.TemporaryDirectory(prefix="oracle-cache-") as cache, multiprocessing.Pool(options.jobs) as pool:
        recipes = matrix.bases().items()
        try:
            paths = dict(pool.imap_unordered(build, [(name, recipe, built, cache) for name, recipe in recipes]))
        except mkimage.RecipeError as error:
            print(f"FAILED {error}")
            return 1
        all_cases = matrix.matrix(dict(sorted(paths.items())))
        chosen = [c for c in all_cases if not options.only or fnmatch.fnmatch(str(c), options.only)]
        if options.list:
            print("\n".join(map(str, chosen)))
            return 0
        failed = compared = 0
        jobs = [(case, binary, built, options.keep) for case in chosen]
        for case, wrong, full in pool.imap(run_case, jobs, chunksize=8):
            compared += full
            if wrong:
                failed += 1
                print(f"FAILED {case}: {'; '.join(wrong)}\n       {reproduce(case, binary)}", flush=True)
    for damage in matrix.never_used(all_cases):
        failed += 1
        print(f"FAILED damage {damage} is done to no image")
    print(f"{len(chosen) - failed} passed, {failed} failed; {compared} compared with all totals, "
          f"{time.monotonic() - started:.0f} s")
    if not options.only and compared < LEAST_COMPARED:
        print(f"FAILED only {compared} images were compared with all totals, {LEAST_COMPARED} are wanted")
        failed += 1
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
