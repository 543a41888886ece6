#!/usr/bin/env python3
"""Random damages, one to four at a time: does a repair lose what the file still holds?

    run.py BINARY [--cases N] [--seed S] [--case K] [--base NAME] [--jobs N] [--keep FOLDER] [--explained]

A case is known by seed and number and is always the same. What must hold of each, besides what judge.py asks for:

    runs        the program comes to an end, with an exit code that means the image's state
    dry-run     --dry-run changes nothing, and plans what the repair then does
    second      the next run finds the state that the first one told, and nothing to do
    plan        every byte that changes lies in an action of the plan, or in the space that the file has grown by
    undo        -m undo gives back every byte

A loss that nothing in the file could prevent is explained by a rule (judge.EXPLAINED), counted and told at the end.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tools")]
import breakage  # noqa: E402
import judge  # noqa: E402
import mkimage  # noqa: E402

BASES = os.path.join(HERE, "bases")
IMAGE, LOG = "image.qcow2", "image.qcow2.undo"
TIMEOUT = 30
LONGEST_SNAPSHOT_TABLE = 64 << 20  # bytes that a wrong length may claim behind the end of the file
RUNS = (("all", "all"), ("all", "all", "all"), ("leak", "all"), ("error", "all", "all"), ("reuse", "all"))
WEIGHTS = (10, 2, 2, 3, 1)


@dataclass
class Base:
    """A healthy image, as it was earlier and as it is, and what belongs to it."""
    name: str
    older: bytes
    data: bytes
    files: dict

    def outside(self):
        return self.files.get("data.raw", b"")


def build(name):
    with tempfile.TemporaryDirectory(prefix="trials-") as folder:
        with open(os.path.join(BASES, name + ".recipe"), encoding="utf-8") as file:
            first, _, later = file.read().partition("later\n")
        recipe = mkimage.Recipe(first, name)
        path = recipe.build(folder)
        older = load(path)
        builder = mkimage.Builder(folder)
        builder.encrypted = bool(recipe.encryption)
        builder.follow(mkimage.Recipe(later, name).steps)
        others = {n: load(os.path.join(folder, n)) for n in os.listdir(folder) if n.endswith(".raw")}
        return Base(name, older, load(path), others)


def load(path):
    with open(path, "rb") as file:
        return file.read()


NAMES = sorted(n[:-7] for n in os.listdir(BASES) if n.endswith(".recipe"))


def base_of(seed, number):
    return random.Random(f"{seed}/{number}/base").choice(NAMES)


class Failure(Exception):
    pass


class Case:
    """Number `number` of a seed; `without`: damages that are left out."""

    def __init__(self, bases, seed, number, only=None, without=()):
        self.rng = random.Random(f"{seed}/{number}")
        self.base = bases[only or base_of(seed, number)]
        self.original = judge.read(self.base.data, self.base.outside())
        structures, data = breakage.Structures(self.original), bytearray(self.base.data)
        self.told = []
        count = self.rng.choices((1, 2, 3, 4), (4, 3, 2, 1))[0]
        for i in range(count):
            rng = random.Random(f"{seed}/{number}/{i}")
            if i not in without:
                self.told.append(breakage.damage(structures, data, self.base.older, rng))
        self.count, self.data = count, bytes(data)
        self.runs = self.rng.choices(RUNS, WEIGHTS)[0]


class Trial:
    def __init__(self, binary, case, folder):
        self.binary, self.case, self.folder = binary, case, folder
        self.path = os.path.join(folder, IMAGE)
        self.wrong, self.explained = [], []

    def need(self, holds, text):
        if not holds:
            self.wrong.append(text)

    def run(self, *arguments):
        command = [self.binary, *arguments, IMAGE]
        try:
            done = subprocess.run(command, cwd=self.folder, capture_output=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            raise Failure(f"runs: {shlex.join(command[1:])} takes more than {TIMEOUT} seconds") from None
        if done.returncode < 0 or b"Sanitizer" in done.stderr:
            raise Failure(f"runs: {shlex.join(command[1:])} crashes with {done.returncode}: {done.stderr[-300:]}")
        return done

    def report(self, *arguments):
        done = self.run("--json", *arguments)
        try:
            report = json.loads(done.stdout)
        except ValueError:
            raise Failure(f"runs: {arguments} exits with {done.returncode} and no JSON: {done.stderr[-300:]}") from None
        if not 0 <= done.returncode <= 6:
            raise Failure(f"runs: {arguments} exits with {done.returncode}: {done.stderr[-300:]}")
        self.need(done.returncode == report["exit-code"], f"runs: {arguments} exits with {done.returncode}, but reports "
                  f"{report['exit-code']}")
        return report

    def go(self):
        for name, data in {IMAGE: self.case.data, **self.case.base.files}.items():
            with open(os.path.join(self.folder, name), "wb") as file:
                file.write(data)
        damaged = judge.read(self.case.data, self.case.base.outside())
        runs = self.case.runs
        dry = self.report("-b", "-R", runs[0], "--dry-run", "-j1")
        self.need(load(self.path) == self.case.data, "dry-run: changes the image")
        states = [self.case.data]
        for i, what in enumerate(runs):
            real = self.report("-b", "-R", what)
            if os.path.getsize(self.path) > 16 * len(self.case.data) + LONGEST_SNAPSHOT_TABLE:
                raise Failure(f"plan: the file grows from {len(self.case.data)} bytes to {os.path.getsize(self.path)}")
            states.append(load(self.path))
            if i == 0:
                for key in ("actions", "refused", "planned-status"):
                    self.need(dry["repair"].get(key) == real["repair"].get(key), f"dry-run: other {key} than the repair")
                self.planned(real, states[0], states[1])
            elif runs[i - 1] == what:
                self.second(real, code, states)
            code = real["exit-code"]
            lost, why = judge.losses(self.case.original, damaged, judge.read(states[-1], self.outside()), code, i > 0,
                                     "lost-data-suspected" in real)
            self.wrong += [f"after -R {', -R '.join(runs[:i + 1])}: {loss}" for loss in lost]
            self.explained += why
            if lost:
                break
        self.undo(states)

    def outside(self):
        path = os.path.join(self.folder, "data.raw")
        return load(path) if os.path.exists(path) else b""

    def second(self, real, code, states):
        self.need(not real["repair"].get("actions"), f"second: plans {brief(real['repair'].get('actions'))}")
        self.need(states[-1] == states[-2], "second: changes the image")
        self.need(real["exit-code"] == code, f"second: exit code {real['exit-code']}, {code} before")

    def planned(self, real, before, after):
        """Every change is told."""
        spans = [(a["host-offset"], a["host-offset"] + max(a["bytes"], 1)) for a in real["repair"].get("actions", [])
                 if "host-offset" in a]
        flags = [(a["host-offset"], a["host-offset"] + self.case.original.cluster)
                 for a in real["repair"].get("actions", []) if re.search(r"L2 table.*COPIED put right", a["text"])]
        if real["repair"].get("actions-unlisted"):
            return
        for at in differences(before, after[:len(before)]):
            if any(start <= at < end for start, end in spans):
                continue
            if any(start <= at < end for start, end in flags) and before[at] ^ after[at] == 0x80 and at % 8 == 0:
                continue
            self.wrong.append(f"plan: byte {at:#x} changes from {before[at]:#x} to {after[at]:#x} in no action")
            break
        self.need(len(after) >= len(before), "plan: the file gets shorter")
        self.need((before == after) == (not real["repair"].get("actions")), "plan: actions without a change, or no action")

    def undo(self, states):
        """Each repair that changed something left a log; the last one is taken back first."""
        logs = sorted((n for n in os.listdir(self.folder) if n.startswith(LOG)), key=lambda n: (len(n), n))
        changes = [i for i in range(1, len(states)) if states[i] != states[i - 1]]
        self.need(len(logs) == len(changes), f"undo: {len(logs)} logs of {len(changes)} changes")
        for log, i in reversed(list(zip(logs, changes))):
            done = self.run("-m", "undo", "--no-undo", "-F", log)
            if done.returncode or load(self.path) != states[i - 1]:
                self.wrong.append(f"undo: {log} doesn't take it back: {done.returncode} {done.stderr[-200:]}")
                break


def differences(before, after):
    for start in range(0, len(before), 512):
        if before[start:start + 512] != after[start:start + 512]:
            yield from (at for at in range(start, min(start + 512, len(before), len(after))) if before[at] != after[at])


def brief(value):
    text = json.dumps(value)
    return text if len(text) < 300 else f"{text[:300]}…"


def scratch():
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) and "TMPDIR" not in os.environ else None


def attempt(binary, case):
    with tempfile.TemporaryDirectory(prefix="trial-", dir=scratch()) as folder:
        trial = Trial(binary, case, folder)
        try:
            trial.go()
        except Failure as failure:
            trial.wrong.append(str(failure))
        except (KeyError, TypeError) as error:
            trial.wrong.append(f"runs: can't be judged: {error!r}")
        return trial


def kinds(wrong):
    return sorted({re.sub(r"^after [^:]*: ", "", w).split(":")[0] for w in wrong})


STATE = {}


def run_one(number):
    bases, binary, seed, only, keep = STATE["job"]
    case = Case(bases, seed, number, only)
    trial = attempt(binary, case)
    if trial.wrong:
        case, trial = smaller(bases, binary, seed, number, only, case, trial)
        if keep:
            folder = os.path.join(keep, str(number))
            os.makedirs(folder, exist_ok=True)
            for name, data in {IMAGE: case.data, "before.qcow2": case.base.data, **case.base.files}.items():
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(data)
    return number, case.base.name, case.told, case.runs, trial.wrong, trial.explained


def smaller(bases, binary, seed, number, only, case, trial):
    """The same failure with fewer damages."""
    without = ()
    for i in range(case.count):
        fewer = Case(bases, seed, number, only, (*without, i))
        if fewer.told:
            again = attempt(binary, fewer)
            if set(kinds(again.wrong)) & set(kinds(trial.wrong)):
                without, case, trial = (*without, i), fewer, again
    return case, trial


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("binary")
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--base", help="only this image")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", help="leave the images of failing cases in this folder")
    parser.add_argument("--explained", action="store_true", help="name the cases that are explained, too")
    options = parser.parse_args()
    started = time.monotonic()
    numbers = [options.case] if options.case is not None else range(options.cases)
    names = sorted({options.base or base_of(options.seed, number) for number in numbers})
    with mkimage.cache(), multiprocessing.Pool(options.jobs) as pool:
        bases = dict(zip(names, pool.map(build, names, chunksize=1)))
    STATE["job"] = bases, os.path.abspath(options.binary), options.seed, options.base, options.keep
    failed, lines, explained, built = 0, Counter(), Counter(), time.monotonic()
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        for number, base, told, runs, wrong, why in pool.imap(run_one, numbers, chunksize=4):
            explained.update({w for w, _ in why})
            if why and options.explained:
                print(f"EXPLAINED --seed {options.seed} --case {number}: {base}", *told, *map(": ".join, why[:6]),
                      sep="\n       ", flush=True)
            if wrong:
                failed += 1
                lines.update(kinds(wrong))
                print(f"FAILED --seed {options.seed} --case {number}: {base}", *told, *wrong[:6], sep="\n       ", flush=True)
    seconds = time.monotonic() - built
    print(f"{len(numbers)} cases on {len(bases)} images; {built - started:.0f} s to make these, {seconds:.0f} s")
    for why, count in sorted(explained.items()):
        print(f"{count:7} explained: {judge.EXPLAINED[why]}")
    print(f"{len(numbers) - failed} passed, {failed} failed{': ' if lines else ''}"
          f"{', '.join(f'{n} {line}' for line, n in lines.most_common())}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
