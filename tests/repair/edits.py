#!/usr/bin/env python3
"""Applies and removes the snapshots of every image that the tests have.

    edits.py BINARY [--share N] [ARGUMENT…]     to each image every Nth edit is done; more arguments as run.py's

What must hold of each, besides what run.py says of every run (check, log, beside, undo, in-use):

    refused     what isn't done changes nothing
    status      the image isn't worse than before; one that was good is good, and QEMU agrees
    content     the snapshots that remain, and the disk where it isn't what changes, read as before; the disk that was
                applied reads as its snapshot did; a disk that was kept reads as it did
"""

import argparse
import functools
import os
import sys
import zlib

import run
import qemu

LARGEST = 64 << 20  # of a disk whose content is compared


class Edits(run.Trial):
    def __init__(self, share, *arguments):
        super().__init__(*arguments)
        self.share = share

    def go(self):
        first = self.ours()
        ids = [s.get("id", "") for s in first.get("snapshots", [])]
        if not ids:
            self.counts["without snapshots"] += 1
            return
        last = f"snapshot[{len(ids) - 1}]"
        self.contents = {}
        commands = [("-A", "snapshot[0]"), ("-A", last, "--keep-as", "kept"), ("-D", "snapshot[0]"), ("-E", last),
                    ("-E", "0"), ("-D", "snapshot[0]", "--force"), ("-A", last, "--force")]
        for command in commands[zlib.crc32(str(self.subject).encode()) % self.share::self.share]:
            self.edit(first, ids, command)

    def edit(self, first, ids, command):
        real = self.attempt(*command)
        new = run.folders.digests(self.after)
        said = " ".join(command)
        if not real:
            self.counts["refused"] += 1
            self.need(new == self.old, "refused", f"{said} changes {self.changed(self.old, new)}")
            return
        self.counts["done"] += 1
        changed = new[run.IMAGE] != self.old[run.IMAGE]
        self.need((run.LOG in new) == changed, "log", f"{said}: new files: {sorted(new.keys() - self.old.keys())}")
        if "--force" not in command:
            self.need(real["exit-code"] <= first["exit-code"], "status",
                      f"{said}: {real['status']}, it was {first['status']}")
        if first["exit-code"] == 0:
            self.judge_by_qemu(first, real)
        if "--force" not in command and first["header"].get("size", 0) <= LARGEST:
            self.judge_states(first, ids, command)
        if changed:
            self.undo(new)
            for log in (run.LOG, run.SECOND_LOG):
                os.unlink(os.path.join(self.after, log))

    def attempt(self, *command):
        """The report; nothing if it was refused."""
        done = run.run([self.binary, "--json", *command, *self.subject.arguments, run.IMAGE], self.after)
        try:
            report = run.json.loads(done.stdout)
        except ValueError:
            raise run.Failure("check", f"{command} exits with {done.returncode} and no JSON") from None
        self.need(done.returncode == report["exit-code"], "check",
                  f"{command} exits with {done.returncode} but reports {report['exit-code']}")
        return report if done.returncode <= 6 else None

    def judge_states(self, first, ids, command):
        """Which state of the image after the edit is which one of before it?"""
        if command[0] == "-A":
            applied = ids[0 if command[1] == "snapshot[0]" else -1]
            pairs = [(None, applied), *((i, i) for i in ids)]
        else:
            remain = {"-D": ids[1:], "-E": ids[-1:] if command[1] != "0" else []}[command[0]]
            pairs = [(None, None), *((i, i) for i in remain)]
        sizes = {s.get("id", ""): s.get("disk-size") for s in first["snapshots"]} | {None: first["header"]["size"]}
        if len(set(sizes.values())) > 1 or len(set(ids)) < len(ids):
            self.counts["states of several sizes or one ID"] += 1
            return
        for after, before in pairs:
            if all(i is None or (i and i.isprintable()) for i in (after, before)):
                self.judge_state(first, command, after, before)

    def judge_state(self, first, command, after, before):
        image, header = self.opening(first), first["header"]
        name = f"{' '.join(command)}: {f'snapshot {after}' if after else 'the disk'}"
        old, new = (os.path.join(folder, "..", side) for folder, side in
                    ((self.before, f"old-{before}.raw"), (self.after, "new.raw")))
        if before not in self.contents:
            self.contents[before] = qemu.read_guest(image, self.before, old, header["size"],
                                                    1 << header["cluster-bits"], before)
        unreadable = self.contents[before]
        if unreadable is None:
            self.counts["states that QEMU could not open before, or not tell what it can't read"] += 1
            return
        now = qemu.read_guest(image, self.after, new, header["size"], 1 << header["cluster-bits"], after)
        if now is None:
            self.need(False, "content", f"{name}: QEMU can't open it")
            return
        self.counts["states compared"] += 1
        other = [at for at in run.folders.differences(old, new) if at not in unreadable and at not in now]
        self.need(not other, "content", f"{name} is another one at {run.places(other)}")
        self.need(not now - unreadable, "content", f"{name} can't be read any more at {run.places(sorted(now - unreadable))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--share", type=int, default=1)
    options, sys.argv[1:] = parser.parse_known_args()
    sys.exit(run.main(functools.partial(Edits, options.share), lambda cases, step: cases[::step]))
