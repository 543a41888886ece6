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


def states(folder):
    """What the guest reads of each state that can be read: bytes, and the sectors that can't be."""
    path = os.path.join(folder, "image.qcow2")
    found = {}
    try:
        with Image(path) as image:
            ids = [s.id.decode(errors="replace") for s in image.snapshots()]
            names = [None] + [name for name in ids if name.isprintable()]
            disk, unit = image["size"], image.cluster_size
    except Exception:  # pylint: disable=broad-except
        return found  # nobody can read that
    target = os.path.join(folder, "raw")
    for name in names:
        bad = qemu.read_guest(qemu.opening(backing=os.path.exists(os.path.join(folder, "base.raw"))), folder, target, disk,
                              unit, name)
        if bad is not None:
            with open(target, "rb") as file:
                found[name or "active"] = file.read(), bad
    return found


def sectors(content, size):
    data, bad = content
    data = data.ljust(size, b"\0")
    return [None if at in bad else data[at:at + 512] for at in range(0, size, 512)]


def compare(whole, broken, then, wanted):
    """What of the guest's is missing, or nothing."""
    for name, before in whole.items():
        size = len(before[0])
        now = sectors(then[name], size) if name in then else [None] * (size // 512)
        before = sectors(before, size)
        if wanted == "whole" or (wanted == "active" and name == "active"):
            must = before
        elif name in broken and wanted == "part":
            was = sectors(broken[name], size)
            must = [b if b == w else None for b, w in zip(before, was)]
        else:
            continue
        lost = [i * 512 for i, (m, n) in enumerate(zip(must, now)) if m is not None and m != n]
        if lost:
            raise Failure(f"{name}: {len(lost)} sectors don't read as before, from {lost[0]:#x} on")
        if name in then and then[name][0][size:].strip(b"\0"):
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
            whole = states(sound)
            mkimage.Recipe("\n".join(steps[:cut] + steps[cut + 1:]), name).build(folder)
            broken = states(folder)
            follower = Follower(binary, folder)
            report = follower.follow()
            then = states(folder)
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
