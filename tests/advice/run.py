#!/usr/bin/env python3
"""Breaks the image of every folder here as its recipe says, then follows the advice without a thought, to its end.

    run.py BINARY [--update] [NAME…]      NAME: a folder, or a pattern such as 'l2-*'

A `recipe` is told in the language of tests/tools/mkimage.py; what stands behind its line `breaks` is the breakage. Then
the first advised command that changes something is typed as it stands, the image checked again, and so on. A command must
change the image, or make a copy of it; and never may less be readable than before. The recipe's line `then` says what
must come back:

    then whole     every state of the disk reads as before the breakage
    then active    the active disk does; what snapshots held is lost
    then part      what could be read before the advice was followed

`expected` is the transcript: status and verdict, the command followed and why, and where it ends what else is said. With
--update it is written anew: read the difference before you believe it.
"""

import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
sys.path.insert(0, os.path.join(HERE, "..", "images"))
import folders  # noqa: E402
import mkimage  # noqa: E402
import qemu  # noqa: E402
import recipes  # noqa: E402
from qcow2 import Image  # noqa: E402
from run import Failure, read, same_text  # noqa: E402

MOST_STEPS = 40
TIMEOUT = 120


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def states(folder, kept):
    """What the guest reads of each state that can be read: a file in `kept`, and the sectors that can't be."""
    path = os.path.join(folder, "image.qcow2")
    found = {}
    try:
        with Image(path) as image:
            ids = [s.id.decode(errors="replace") for s in image.snapshots()]
            names = [None] + [name for name in ids if name.isprintable()]
            disk, unit = image["size"], image.cluster_size
    except Exception:  # pylint: disable=broad-except
        return found  # nobody can read that
    os.mkdir(kept)
    for number, name in enumerate(names):
        target = os.path.join(kept, str(number))
        bad = qemu.read_guest(qemu.opening(backing=os.path.exists(os.path.join(folder, "base.raw"))), folder, target, disk,
                              unit, name)
        if bad is not None:
            found[name or "active"] = target, bad
    return found


def fit(path, size):
    """Makes the file as long as the disk was; returns whether anything but zeros was behind that."""
    with open(path, "r+b") as file:
        more = False
        for start, stop in folders.extents(file.fileno()):
            file.seek(max(start, size))
            more = more or bool(file.read(max(0, stop - file.tell())).strip(b"\0"))
        file.truncate(size)
    return more


def compare(whole, broken, then, wanted):
    """What of the guest's is missing, or nothing."""
    for name, (before, excused) in whole.items():
        size = os.path.getsize(before)
        if wanted == "part" and name in broken:
            was, unreadable = broken[name]
            fit(was, size)
            excused = excused | unreadable | set(folders.differences(before, was))
        elif wanted != "whole" and (wanted, name) != ("active", "active"):
            continue
        longer, lost = False, range(0, size, 512)
        if name in then:
            now, unreadable = then[name]
            longer = fit(now, size)
            lost = {*folders.differences(before, now), *(at for at in unreadable if at < size)}
        if lost := sorted(set(lost) - excused):
            raise Failure(f"{name}: {len(lost)} sectors don't read as before, from {lost[0]:#x} on")
        if longer:
            raise Failure(f"{name}: the disk has become longer, and not with zeros")


class Follower:
    def __init__(self, binary, folder):
        self.binary, self.folder, self.lines = binary, folder, []
        self.image = os.path.join(folder, "image.qcow2")

    def look(self):
        done = subprocess.run([self.binary, "--json", "image.qcow2"], cwd=self.folder, capture_output=True,
                              timeout=TIMEOUT, check=False)
        if done.returncode < 0:
            raise Failure(f"crashed: {done.stderr.decode(errors='replace')}")
        report = json.loads(done.stdout)
        self.lines.append(f"{report['exit-code']} {report['status']}: {report['verdict']}")
        return report

    def type(self, command):
        """Does what the command says, in a shell that knows the program. Returns whether anything came of it."""
        before, files = digest(self.image), set(os.listdir(self.folder))
        shell = f"qcow2-dump() {{ {self.binary} \"$@\"; }}; {command}"
        done = subprocess.run(["bash", "-c", shell], cwd=self.folder, capture_output=True, text=True, timeout=TIMEOUT,
                              check=False)
        self.lines.append(f"$ {command}  -> {done.returncode}")
        if done.returncode < 0 or done.returncode > 7:
            self.lines.append(done.stderr.strip())
        return digest(self.image) != before or (command.startswith("cp ") and set(os.listdir(self.folder)) != files)

    def follow(self):
        copied = False
        for _ in range(MOST_STEPS):
            report = self.look()
            advice = [a for a in report["advice"]
                      if a.get("command", "qcow2-dump image.qcow2") != "qcow2-dump image.qcow2"
                      and not (copied and a["command"].startswith("cp "))]
            if not advice:
                self.lines += [f"- {a['text']}" for a in report["advice"] if "command" not in a]
                return report
            self.lines += [f"- {advice[0]['text']}"] if advice[0]["text"] else []
            copied |= advice[0]["command"].startswith("cp ")
            if not self.type(advice[0]["command"]):
                raise Failure("the advised command changes nothing:\n" + "\n".join(self.lines))
        raise Failure("no end of advice:\n" + "\n".join(self.lines))


def run_one(binary, update, name):
    """Returns what is wrong, or nothing."""
    text = read(os.path.join(HERE, name, "recipe"))
    lines = text.splitlines()
    wanted = next((line.split()[1] for line in lines if line.startswith("then ")), None)
    steps = [line for line in lines if not line.startswith("then ")]
    try:
        if wanted not in ("whole", "active", "part") or "breaks" not in steps:
            raise Failure("the recipe has no line `breaks`, or no line `then`")
        cut = steps.index("breaks")
        with tempfile.TemporaryDirectory(prefix="advice-") as folder, tempfile.TemporaryDirectory() as sound:
            mkimage.Recipe("\n".join(steps[:cut]), name).build(sound)
            whole = states(sound, os.path.join(sound, "whole"))
            mkimage.Recipe("\n".join(steps[:cut] + steps[cut + 1:]), name).build(folder)
            broken = states(folder, os.path.join(sound, "broken"))
            follower = Follower(binary, folder)
            report = follower.follow()
            then = states(folder, os.path.join(sound, "then"))
            same = same_text(os.path.join(HERE, name, "expected"), "\n".join(follower.lines) + "\n", update)
            try:
                compare(whole, broken, then, wanted)
            except Failure as failure:
                raise Failure(f"{failure}\n" + "\n".join(follower.lines)) from None
            if wanted == "whole" and report["exit-code"] > 1:
                raise Failure("the advice ends before the image is sound:\n" + "\n".join(follower.lines))
            return same
    except (Failure, mkimage.RecipeError, RuntimeError) as failure:
        return str(failure)


def main():
    options = recipes.parser(__doc__).parse_intermixed_args()
    return 1 if recipes.run(HERE, options, functools.partial(run_one, options.binary, options.update), "breakages") else 0


if __name__ == "__main__":
    sys.exit(main())
