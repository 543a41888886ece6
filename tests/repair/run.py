#!/usr/bin/env python3
"""Repairs every image that the tests have, and proves that nothing was lost and that everything can be taken back.

    run.py BINARY [--images] [--oracle] [--sample N] [--part N] [--list] [--jobs N] [--keep FOLDER] [NAME…]
        NAME: a folder of tests/images, or a case of tests/oracle/cases.py, or a pattern such as 'rich/l2-*'

What must hold of each image, under the names by which a failure tells it:

    check       the image can be checked at all, and every run ends with an exit code and a report that agree
    dry-run     --dry-run changes no file, tells the state of the unchanged image, and plans what the repair then does
    healthy     where the check finds nothing, the repair changes nothing
    log         there is an undo log if and only if the image was changed, and no other new file
    left        whatever remains is beyond a repair (user, edit, none), or the repair says what it refused
    second      a second repair changes nothing and finds the state that the first one told; but where the first one has
                left leaks for later, only they may be freed
    qemu        qemu-img check agrees about the repaired image, in all totals where it comes to the end
    content     the guest reads what it read before, in every snapshot too, wherever QEMU could read it
    beside      backing and data files are as they were
    undo        -m undo gives back the image, byte for byte
    in-use      an image that somebody writes to is left alone

Where the repair changes nothing, `qemu`, `content` and `undo` have nothing to show and are left out. `content` is what
QEMU says it is: the part of a snapshot behind the end of the active disk and VM states are out of its sight. A guest
cluster that is metadata at the same time, and is reported so after the repair too, changes with that metadata: counted.
"""

import argparse
import fnmatch
import json
import multiprocessing
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.join(HERE, "..")
IMAGES = os.path.join(TESTS, "images")
sys.path[:0] = [os.path.join(TESTS, "tools"), os.path.join(TESTS, "oracle")]
import cases as matrix  # noqa: E402
import folders  # noqa: E402
import mkimage  # noqa: E402
import qcow2  # noqa: E402
import qemu  # noqa: E402

TIMEOUT = 60
IMAGE, LOG, SECOND_LOG = "image.qcow2", "image.qcow2.undo", "image.qcow2.undo.2"
LOCKED = 245
BEYOND_REPAIR = ("user", "edit", "none")
STATE = ("exit-code", "status", "problems", "totals")  # what two reports of one state have in common
SHARED = ("cluster.on-metadata", "cluster.compressed-overlap")


class Failure(Exception):
    """(line, facts): there is no use in going on with this image."""


@dataclass
class Folder:
    """An image of tests/images."""
    name: str
    hold = property(lambda self: self.recipe.hold)
    arguments = property(lambda self: self.recipe.arguments)
    encryption = property(lambda self: self.recipe.encryption)

    def __str__(self):
        return self.name

    def make(self, _, folder):
        self.recipe.build(folder)

    @property
    def recipe(self):
        return mkimage.Recipe.load(os.path.join(IMAGES, self.name, "recipe"))

    def steps(self):
        return f"tests/tools/mkimage.py tests/images/{self.name}/recipe /tmp/case && cd /tmp/case"


@dataclass
class Case(matrix.Case):
    """An image of the matrix."""
    hold, arguments = False, ()
    __str__ = matrix.Case.__str__


class Trial:
    """One image: `before` holds it as it was, `after` the one that is repaired."""

    def __init__(self, binary, subject, before, after):
        self.binary, self.subject, self.before, self.after = binary, subject, before, after
        self.wrong, self.counts, self.left = [], Counter(), Counter()
        self.old = folders.digests(after)

    def need(self, holds, line, facts):
        if not holds:
            self.wrong.append(f"{line}: {facts}")

    def ours(self, *arguments):
        """The report of a run of qcow2-dump."""
        command = [self.binary, "--json", *arguments, *self.subject.arguments, IMAGE]
        done = run(command, self.after)
        said = f"{shlex.join(command[1:])} exits with {done.returncode}"
        try:
            report = json.loads(done.stdout)
        except ValueError:
            raise Failure("check", f"{said} and no JSON: {tail(done.stderr)}") from None
        self.need(done.returncode == report["exit-code"], "check", f"{said} but reports {report['exit-code']}")
        if not 0 <= done.returncode <= 6 and not self.subject.hold:
            raise Failure("check", f"{said}: {tail(done.stderr) or done.stdout[:300]}")
        return report

    def changed(self, old, new=None):
        """Names of the files that aren't as they were."""
        new = new or folders.digests(self.after)
        return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))

    def go(self):
        first = self.ours()
        dry = self.dry_run(first)
        real = self.ours("-R", "all")
        new = folders.digests(self.after)
        self.repaired = new[IMAGE] != self.old[IMAGE]
        self.counts["changed by the repair"] += self.repaired
        self.judge_plan(dry, real)
        self.judge_files(new, real)
        if not first["problems"]:
            self.counts["without any finding"] += 1
            self.need(new == self.old, "healthy", f"nothing was found, but changed: {self.changed(self.old, new)}")
        self.judge_left(real)
        if self.repaired:
            self.judge_by_qemu(first, real)
            self.judge_content(first, real)
        self.judge_second(real, new)
        if self.repaired:
            self.undo(new)

    def dry_run(self, first):
        dry = self.ours("-R", "all", "--dry-run")
        if changed := self.changed(self.old):
            raise Failure("dry-run", f"changes {changed}")
        self.need("undo-log" not in dry["repair"], "dry-run", "names an undo log")
        for key in same_state(first, dry):
            self.need(False, "dry-run", f"{key} is {brief(dry.get(key))}, {brief(first.get(key))} without -R")
        return dry

    def judge_plan(self, dry, real):
        for key in ("actions", "refused"):
            planned, done = dry["repair"].get(key, []), real["repair"].get(key, [])
            at = next((i for i, (p, d) in enumerate(zip(planned, done)) if p != d), min(len(planned), len(done)))
            self.need(planned == done, "dry-run", f"{len(planned)} {key} planned, {len(done)} in the repair; number "
                      f"{at} is {brief(planned[at:at + 1])} and then {brief(done[at:at + 1])}")

    def judge_files(self, new, real):
        told, actions = real["repair"].get("undo-log"), real["repair"].get("actions", [])
        self.need(bool(actions) == self.repaired, "log",
                  f"{len(actions)} actions, but the image {'was' if self.repaired else 'was not'} changed")
        wanted = {LOG} if self.repaired else set()
        self.need(new.keys() - self.old.keys() == wanted, "log", f"new files: {sorted(new.keys() - self.old.keys())}")
        if self.repaired:
            self.need(told and os.path.realpath(os.path.join(self.after, told)) ==
                      os.path.realpath(os.path.join(self.after, LOG)), "log", f"undo-log is {told}")
        else:
            self.need(told is None, "log", f"undo-log is {told} though nothing was changed")
        touched = [n for n in self.old if n != IMAGE and new.get(n) != self.old[n]]
        self.need(not touched, "beside", f"changed: {touched}")

    def judge_left(self, real):
        problems, refused = real["problems"], real["repair"].get("refused", [])
        errors = {p["code"] for p in problems if p["severity"] != "warning"}
        self.need(bool(errors) == bool(real["exit-code"]), "left", f"exits with {real['exit-code']}, but problems "
                  f"that aren't warnings: {sorted(errors) or 'none'}")
        # Refcounts past the end of a good image may stay: a warning that is no error's trace.
        allowed = BEYOND_REPAIR if real["exit-code"] else (*BEYOND_REPAIR, "leak")
        repairable = sorted({p["code"] for p in problems if p["repair"] not in allowed})
        self.need(refused or not repairable, "left", f"{' '.join(repairable)}: can be repaired, and nothing is refused")
        self.counts["changed, and without error or leak afterwards"] += self.repaired and not errors
        self.counts["with a refusal"] += bool(refused)
        for problem in {(p["code"], p["repair"]) for p in problems if p["severity"] != "warning"}:
            self.left[problem] += 1

    def judge_second(self, real, new):
        for_later = any("not freed now" in r["text"] for r in real["repair"].get("refused", []))
        for what in ["error", "reuse"] if for_later else ["all"]:
            second = self.ours("-R", what)
            self.need(not second["repair"].get("actions"), "second", f"plans {brief(second['repair'].get('actions'))}")
            for key in same_state(real, second):
                self.need(False, "second", f"{key} is {brief(second.get(key))}, {brief(real.get(key))} after the first")
        if changed := self.changed(new):
            raise Failure("second", f"changes {changed}")

    def judge_by_qemu(self, first, real):
        code, ours = real["exit-code"], real.get("totals", {})
        theirs, totals = qemu.check(self.opening(first, check=True), self.after)
        if totals is None:
            self.counts["qemu-img check gives up after the repair"] += 1
            self.need(code, "qemu", f"gives up with {theirs}, but we say good")
            return
        self.counts["totals compared with qemu-img check"] += 1
        for key in qemu.TOTALS:
            self.need(ours.get(key) == totals[key], "qemu", f"{key} {totals[key]}, ours {ours.get(key)}")
        # We may be stricter: judge_left() has seen the errors that are the reason.
        least = qemu.CLASSES.get(theirs, [7])[0]
        self.need(code >= least, "qemu", f"exits with {theirs}, we with {code}")

    def opening(self, first, check=False):
        codes = {p["code"] for p in first["problems"]}
        # A chain that comes back to the image hangs QEMU, and one that lacks a file is none.
        follow = not check and not any(code.startswith("backing.") for code in codes)
        return qemu.opening(self.subject.encryption, follow, "data-file.missing" not in codes)

    def judge_content(self, first, real):
        image, clusters, header = self.opening(first), shared_clusters(real), first.get("header", {})
        disk, unit = header.get("size", 0), 1 << header.get("cluster-bits", 16)
        ids = [s.get("id", "") for s in first.get("snapshots", [])]
        for state in [None, *dict.fromkeys(i for i in ids if i and i.isprintable())]:
            name = f"snapshot {state}" if state else "the disk"
            kind = "contents of snapshots" if state else "contents"
            old, new = (os.path.join(folder, "..", side + ".raw") for folder, side in
                        ((self.before, "old"), (self.after, "new")))
            unreadable = qemu.read_guest(image, self.before, old, disk, unit, state)
            if unreadable is None:
                self.counts[f"{kind} that QEMU could not open before, or not tell what it can't read"] += 1
                continue
            unreadable_now = qemu.read_guest(image, self.after, new, disk, unit, state)
            if unreadable_now is None:
                self.need(False, "content", f"QEMU can't open {name} any more")
                continue
            self.counts[f"{kind} compared"] += 1
            self.counts[f"{kind} compared but for areas that could not be read before"] += bool(unreadable)
            if lost := sorted(unreadable_now - unreadable):
                self.need(False, "content", f"{name} can't be read any more at {places(lost)}")
            self.need(os.path.getsize(old) == os.path.getsize(new), "content", f"{name} has another size")
            other = [at for at in folders.differences(old, new) if at not in unreadable and at not in unreadable_now]
            excused = [at for at in other if any(start <= at < end for start, end in clusters)]
            self.counts[f"{kind} changed where they are metadata too"] += bool(excused)
            if other := sorted(set(other) - set(excused)):
                self.need(False, "content", f"{name} is another one at {places(other)}")

    def undo(self, new):
        done = run([self.binary, "-m", "undo", "-F", LOG, IMAGE], self.after)
        if done.returncode:
            raise Failure("undo", f"exits with {done.returncode}: {tail(done.stderr)}")
        undone = folders.digests(self.after)
        wrong = [f"{name}: {undone.get(name)} instead of {self.old[name]}" for name in self.changed(self.old, undone)
                 if name in self.old]
        self.need(not wrong, "undo", "; ".join(wrong))
        self.need(undone.get(LOG) == new[LOG], "undo", "changes its log")
        extra = sorted(undone.keys() - new.keys())
        self.need(extra == [SECOND_LOG], "undo", f"new files: {extra}")

    def in_use(self):
        with qemu.Writer(self.after):
            report = self.ours("-R", "all")
            self.need(report["exit-code"] == LOCKED, "in-use", f"exits with {report['exit-code']}, not {LOCKED}")
            self.need(self.changed(self.old) == [], "in-use", f"changes {self.changed(self.old)}")
        self.counts["in use by another process"] += 1


def run(command, folder):
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise Failure("check", f"{shlex.join(command[1:])} is still running after {TIMEOUT} seconds") from None
    if done.returncode < 0 or b"Sanitizer" in done.stderr:
        raise Failure("check", f"{shlex.join(command[1:])} crashed with {done.returncode}: {tail(done.stderr)}")
    return done


def tail(output):
    return output.decode(errors="replace").strip()[-400:]


def brief(value):
    text = json.dumps(value)
    return text if len(text) < 300 else f"{text[:300]}…"


def same_state(one, other):
    """The keys in which two reports of one state disagree."""
    return [key for key in STATE if one.get(key) != other.get(key)]


def shared_clusters(report):
    """Guest ranges that a report names as being metadata, or part of a compressed cluster, at the same time."""
    size = 1 << report.get("header", {}).get("cluster-bits", 16)
    starts = {int(at, 16) for p in report["problems"] if p["code"] in SHARED
              for at in [hex(p["guest-offset"]), *re.findall(r"guest offset (0x[0-9a-f]+)", p["text"])]}
    return [(at, at + size) for at in sorted(starts)]


def places(sectors):
    """Sorted offsets of sectors, for people."""
    ranges = []
    for at in sectors:
        if ranges and ranges[-1][1] == at:
            ranges[-1][1] = at + 512
        else:
            ranges.append([at, at + 512])
    told = ", ".join(f"{start:#x}-{end:#x}" for start, end in ranges[:4])
    return told if len(ranges) <= 4 else f"{told} and {len(ranges) - 4} more"


def run_one(job):
    """(name, steps to make it, complaints, counts, what is left)"""
    trial_of, subject, binary, built, keep = job
    with tempfile.TemporaryDirectory(prefix="repair-", dir=scratch()) as parent:
        before, after = os.path.join(parent, "before"), os.path.join(parent, "after")
        try:
            subject.make(built, before)
            folders.copy(before, after)
        except (qcow2.Unsuitable, ValueError, mkimage.RecipeError) as error:
            return str(subject), subject.steps(), [f"the image can't be made: {error!r}"], Counter(), Counter()
        trial = trial_of(binary, subject, before, after)
        try:
            (trial.in_use if subject.hold else trial.go)()
        except Failure as failure:
            trial.need(False, *failure.args)
        except subprocess.TimeoutExpired as late:
            trial.need(False, "qemu", f"{late.cmd[:2]} takes more than {late.timeout} seconds")
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            trial.need(False, "check", f"can't be judged: {error!r}")
        if trial.wrong and keep:
            shutil.copytree(before, os.path.join(keep, str(subject).replace("/", "_")), dirs_exist_ok=True)
        return str(subject), subject.steps(), trial.wrong, trial.counts, trial.left


def scratch():
    """In memory if there is room, unless TMPDIR says otherwise: millions of bytes are copied and thrown away."""
    if os.environ.get("TMPDIR") or not os.access("/dev/shm", os.W_OK):
        return None
    room = os.statvfs("/dev/shm")
    return "/dev/shm" if room.f_bavail * room.f_frsize > 1 << 30 else None


def subjects(options, paths):
    both = options.images == options.oracle
    names = sorted(n for n in os.listdir(IMAGES) if os.path.exists(os.path.join(IMAGES, n, "recipe")))
    found = [Folder(n) for n in names] if options.images or both else []
    if options.oracle or both:
        # With both, a base as it is would come twice.
        found += [Case(c.base, c.damages, c.seed) for c in matrix.matrix(paths)
                  if c.damages or not (both and c.base in names)]
    return [s for s in found if not options.names or any(fnmatch.fnmatch(str(s), p) for p in options.names)]


def tell(counts, left, total, seconds):
    print(f"{total} images; {seconds:.0f} s")
    for what, number in sorted(counts.items()):
        if number:
            print(f"{number:7} {what}")
    if left:
        print("images left with")
    for (code, repair), number in sorted(left.items(), key=lambda item: (-item[1], item[0])):
        print(f"{number:7} {code} (repair: {repair})")


def main(trial_of=Trial, sample=matrix.sample):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("binary")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--images", action="store_true", help="only the images of tests/images")
    parser.add_argument("--oracle", action="store_true", help="only those of tests/oracle/cases.py")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="of the oracle's cases, about every Nth")
    parser.add_argument("--part", type=int, default=1, metavar="N", help="every Nth of what is left")
    parser.add_argument("--list", action="store_true", help="print the names, run none")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", help="leave the images of failing cases, as they were before, in this folder")
    options = parser.parse_intermixed_args()
    started, binary, failed, lines = time.monotonic(), os.path.abspath(options.binary), 0, Counter()
    counts, left = Counter(), Counter()
    with tempfile.TemporaryDirectory(prefix="repair-base-", dir=scratch()) as built, \
            mkimage.cache(), multiprocessing.Pool(options.jobs) as pool:
        paths = {} if options.images and not options.oracle else matrix.build_bases(pool, built)
        everything = subjects(options, paths)
        chosen = [s for s in everything if isinstance(s, Folder)]
        chosen += sample([s for s in everything if not isinstance(s, Folder)], options.sample)
        chosen = chosen[::options.part]
        if options.list:
            print("\n".join(map(str, chosen)))
            return 0
        jobs = [(trial_of, subject, binary, built, options.keep) for subject in chosen]
        for name, steps, wrong, facts, remains in pool.imap(run_one, jobs, chunksize=8):
            counts += facts
            left += remains
            failed += bool(wrong)
            lines.update({w.split(":")[0] for w in wrong})
            if wrong:
                told = "\n       ".join(wrong)
                print(f"FAILED {name}\n       {told}\n       {steps} && {binary} -R all {IMAGE}", flush=True)
    tell(counts, left, len(chosen), time.monotonic() - started)
    print(f"{len(chosen) - failed} passed, {failed} failed"
          f"{': ' if lines else ''}{', '.join(f'{number} {line}' for line, number in lines.most_common())}")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
