#!/usr/bin/env python3
"""What was unreferenced because a reference was lost or wrong stays so: damages after which repairs have lost data.

    keeps.py BINARY [NAME…] [--keep FOLDER] [--jobs N]

Each image is repaired by -R all, -R leak and -R error, each followed by -R all twice. tests/trials/judge.py then says
from the bytes alone whether a state reads otherwise than before, or a cluster that only lost references named was freed,
written over, or left to others. And the undo log gives back every byte.
"""

import argparse
import functools
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tools"), os.path.join(HERE, "..", "trials")]
import cases  # noqa: E402
import judge  # noqa: E402
import lost_counts  # noqa: E402,F401
import lost_once  # noqa: E402,F401
import mkimage  # noqa: E402
import qcow2  # noqa: E402
import recipes  # noqa: E402


def build(recipe, damage, folder):
    """(the bytes as they were, as they are)."""
    path = mkimage.Recipe(recipe).build(folder)
    with qcow2.Image(path) as image:
        before, steps = load(path), damage(image)
        if steps:
            next(steps)  # what the guest has written
            before = load(path)
            list(steps)
    return before, load(path)


def load(path):
    with open(path, "rb") as file:
        return file.read()


class Trial:
    def __init__(self, binary, folder, before, after):
        self.binary, self.folder, self.before, self.after = binary, folder, before, after
        self.path, self.log = (os.path.join(folder, name) for name in ("image.qcow2", "image.qcow2.undo"))
        outside = os.path.join(folder, "data.raw")
        self.outside = lambda: load(outside) if os.path.exists(outside) else b""
        self.original, self.damaged = (judge.read(data, self.outside()) for data in (before, after))

    def run(self, *arguments):
        done = subprocess.run([self.binary, *arguments, "image.qcow2"], cwd=self.folder, capture_output=True, text=True,
                              timeout=60, check=False)
        return done.returncode, (done.stderr or done.stdout)[-300:]

    def go(self, what):
        """Complaints."""
        with open(self.path, "wb") as file:
            file.write(self.after)
        wrong, ran = [], []
        for step in [what, "all", "all"]:
            there = load(self.path)
            code, said = self.run("-R", step)
            ran.append(step)
            if not 0 <= code <= 6:
                return [f"-R {step} exits with {code}: {said}"]
            found, _ = judge.losses(self.original, self.damaged, judge.read(load(self.path), self.outside()), code)
            if found:
                wrong = [f"after -R {', -R '.join(ran)} (exit {code}): {loss}" for loss in found]
                break
            if os.path.getsize(self.path) > 16 * len(self.after):
                wrong = [f"after -R {', -R '.join(ran)}: the file has grown to {os.path.getsize(self.path)} bytes"]
                break
            if ran[-2:] == ["all", "all"] and load(self.path) != there:
                wrong = [f"after -R {', -R '.join(ran)}: the second run changes the image"]
        for log in sorted((n for n in os.listdir(self.folder) if n.startswith("image.qcow2.undo")), reverse=True):
            code, said = self.run("-m", "undo", "--no-undo", "-F", log)
            if code:
                wrong.append(f"-m undo exits with {code}: {said}")
            os.unlink(os.path.join(self.folder, log))
        if load(self.path) != self.after:
            wrong.append("-m undo doesn't give back what was there")
        return wrong


def run_one(binary, keep, name):
    """Complaints, with the name of the case first."""
    _, recipe, damage = next(case for case in cases.CASES if case[0] == name)
    with tempfile.TemporaryDirectory(prefix="keeps-") as folder:
        before, after = build(recipe, damage, folder)
        if keep:
            os.makedirs(keep, exist_ok=True)
            with open(os.path.join(keep, f"{name}.qcow2"), "wb") as file:
                file.write(after)
        trial = Trial(binary, folder, before, after)
        wrong = [text for what in ("all", "leak", "error") for text in trial.go(what)]
    return [f"{name}: {damage.__doc__ or ''}", *wrong] if wrong else []


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("binary")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--keep", help="leave the damaged images in this folder")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_intermixed_args()
    chosen = [name for name, _, _ in cases.CASES if not options.names or name in options.names]
    failed, one = 0, functools.partial(run_one, os.path.abspath(options.binary), options.keep)
    with mkimage.cache(), recipes.workers(min(options.jobs, len(chosen))) as each:
        for wrong in each(one, chosen):
            failed += bool(wrong)
            if wrong:
                print(f"FAILED {wrong[0]}", *wrong[1:13], sep="\n       ", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
