#!/usr/bin/env python3
"""Damaged images through `qemu-img check` and through qcow2-dump: the same totals, the same verdict.

    run.py BINARY [--list] [--jobs N] [--only PATTERN] [--sample N]

The matrix stands in cases.py; the damages in tests/tools/damages. Where qemu-img ends its check, all eight totals must
be equal, and so must the class of the status (good, leaks only, worse). We may be stricter only by errors that the
damage announces. Where qemu-img gives up, we must find an error, and what it doesn't even open has an exit code of 5 at
least. A failing case is printed with the commands that show
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
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
import cases as matrix  # noqa: E402
import mkimage  # noqa: E402
import qcow2  # noqa: E402
import qemu  # noqa: E402

LEAST_COMPARED = 300


def qemu_opening(case):
    return qemu.opening(case.encryption, data_file="data-file-lost" not in case.damages)


def our_command(binary):
    return [binary, "--json", "--compress", "image.qcow2"]


def our_check(binary, folder):
    """(exit code, report)"""
    done = subprocess.run(our_command(binary), cwd=folder, capture_output=True, timeout=qemu.TIMEOUT, check=False)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, None


def judge(case, announced, theirs, ours):
    """What is wrong with our answer."""
    (qemu_code, totals), (code, report) = theirs, ours
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
              for key in qemu.TOTALS if report["totals"].get(key) != totals[key]]
    patterns = [pattern for code in announced for pattern in code.rstrip("?").split("|")]
    patterns.append("backing.*")  # qemu-img is told to leave it alone
    right = qemu.CLASSES.get(qemu_code, ())
    if code in right:
        return wrong
    if not right or code < right[0]:
        wrong.append(f"exits with {code}, qemu-img with {qemu_code}")
    elif unannounced := {e for e in errors if not any(fnmatch.fnmatch(e, p) for p in patterns)}:
        wrong.append(f"exits with {code}, qemu-img with {qemu_code}, because of {' '.join(sorted(unannounced))}")
    elif not errors:
        wrong.append(f"exits with {code}, qemu-img with {qemu_code}, for no reason")
    return wrong


def run_case(job):
    """(case, complaints, whether all totals were compared)"""
    case, binary, built, keep = job
    with tempfile.TemporaryDirectory(prefix="oracle-") as parent:
        folder = os.path.join(parent, "case")
        try:
            announced = case.make(built, folder)
        except (qcow2.Unsuitable, ValueError) as error:
            return case, [f"the damage can't be done: {error!r}"], False
        try:
            theirs = qemu.check(qemu_opening(case), folder)
            ours = our_check(binary, folder)
            wrong = judge(case, announced, theirs, ours)
            if ours[0] < 5 and (refusal := qemu.refusal(folder)):
                wrong.append(f"exits with {ours[0]}, and qemu-img info: {refusal}")
        except subprocess.TimeoutExpired as late:
            return case, [f"{late.cmd[0]} takes more than {qemu.TIMEOUT} seconds"], False
        if wrong and keep:
            shutil.copytree(folder, os.path.join(keep, str(case).replace("/", "_")), dirs_exist_ok=True)
        return case, wrong, theirs[1] is not None


def reproduce(case, binary):
    return f"{case.steps()}; {shlex.join(qemu.check_command(qemu_opening(case)))}; {shlex.join(our_command(binary))}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("binary")
    parser.add_argument("--list", action="store_true", help="print the cases, run none")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="run the cases that match this pattern (BASE/DAMAGE/SEED)")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="every Nth, and each damage at least once")
    parser.add_argument("--keep", help="leave images of failing cases in this folder")
    options = parser.parse_intermixed_args()
    started, binary = time.monotonic(), os.path.abspath(options.binary)
    with tempfile.TemporaryDirectory(prefix="oracle-base-") as built, \
            mkimage.cache(), multiprocessing.Pool(options.jobs) as pool:
        try:
            paths = matrix.build_bases(pool, built)
        except mkimage.RecipeError as error:
            print(f"FAILED {error}")
            return 1
        all_cases = matrix.matrix(paths)
        chosen = [c for c in matrix.sample(all_cases, options.sample)
                  if not options.only or fnmatch.fnmatch(str(c), options.only)]
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
