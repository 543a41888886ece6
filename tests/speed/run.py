#!/usr/bin/env python3
"""Counts what a check, a dump and a repair cost on images of 64 GiB, and fails where a figure grew by more than 10 %.

    run.py QCOW2-DUMP MAKE-IMAGE COMPILER            compares with the file `expected`
    run.py QCOW2-DUMP MAKE-IMAGE COMPILER --update   records anew what is measured

Seconds say little on a machine that has other things to do, so nothing here is timed. The figures, each with -j 1:

    instructions   of the whole program, by valgrind, less those of its start (those of --version, a figure of its own)
    calls          system calls on the image, the undo log or the output, by strace
    read, written  bytes that these calls brought and took (what a check prints is not worth a figure)

valgrind shows every program the same processor, if the real one has AVX2, so instructions depend on the compiler and
the libraries alone: they are recorded with the compiler of CI, and another one can't be compared. What a read costs
depends on whether the page cache has all of it at once; hence the least of some runs. A file system that can't tell
whether a read would wait costs calls of its own. What all this is in seconds, bench/run.sh tells.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

EXPECTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "expected")
TOLERANCE = 0.10
STRACE_RUNS = 3

IMAGES = {
    "inorder": ["--layout", "in-order"],
    "snap7-own": ["--snapshots", "7", "--l2", "own"],
    "snap7-shared": ["--snapshots", "7", "--l2", "shared"],
    "runs": ["--layout", "runs"],
    "random": ["--layout", "random"],
}
CASES = [(image, "check", []) for image in IMAGES] + [
    ("inorder", "check -c", ["-c"]),
    ("inorder", "dump", ["-m", "dump"]),
    ("inorder", "rebuild", ["-R", "all"]),
]


def cannot_measure(reason):
    print(f"can't measure: {reason}", file=sys.stderr)
    sys.exit(1 if os.environ.get("CI") == "true" else 77)


def incomparable(folder):
    """Kinds of figures that depend on what this machine doesn't have, with the reason."""
    reasons = {}
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        if not re.search(r"^flags\b.*\bavx2\b", file.read(), re.MULTILINE):
            reasons["instructions"] = "the processor has no AVX2"
    path = os.path.join(folder, "probe")
    with open(path, "wb") as file:
        file.write(bytes(4096))
    with open(path, "rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(4096)], 0, os.RWF_NOWAIT)
        except BlockingIOError:
            pass
        except OSError:
            reasons["calls"] = f"the file system of {folder} has no RWF_NOWAIT"
    return reasons


class Bench:
    def __init__(self, program, make_image, folder):
        self.program, self.make_image, self.folder = program, make_image, folder
        self.log = os.path.join(folder, "log")

    def image(self, name, what):
        """A fresh one; for a rebuild without its refcount table, which make_image puts into the second cluster."""
        path = os.path.join(self.folder, "image.qcow2")
        for old in (path, path + ".undo"):
            if os.path.exists(old):
                os.remove(old)
        subprocess.run([self.make_image, path, "--size", "64G", *IMAGES[name]], check=True)
        if what == "rebuild":
            with open(path, "r+b") as file:
                file.seek(65536)
                file.write(bytes(65536))
        with open(path, "rb") as file:
            os.fsync(file)  # a page on its way to the disk may have to be waited for

    def run(self, tool, arguments):
        """The log of the tool that watches the program."""
        command = [*tool, self.program, "-j", "1", *arguments]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}  # a longer one would cost instructions
        done = subprocess.run(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"exit status {done.returncode} from: {' '.join(command)}\n{done.stderr}")
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def require_tracing(self):
        done = subprocess.run(["strace", "-o", self.log, "true"], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            cannot_measure(f"strace can't trace here: {done.stderr.strip()}")

    def instructions(self, arguments):
        log = self.run(["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
                        f"--log-file={self.log}"], arguments)
        return int(re.search(r"I +refs: +([\d,]+)", log)[1].replace(",", ""))

    def traffic(self, arguments):
        """(calls, bytes read, bytes written) on our files and the output"""
        log = self.run(["strace", "-f", "-y", "-s", "0", "-o", self.log], arguments)
        calls, totals, waiting = 0, {"read": 0, "write": 0}, set()
        for line in log.splitlines():
            thread, text = line.split(maxsplit=1)
            if "image.qcow2" in text or "</dev/null" in text:
                calls += 1
                if text.endswith("<unfinished ...>"):
                    waiting.add(thread)
            elif text.startswith("<... ") and thread in waiting:
                waiting.remove(thread)
            else:
                continue
            call = re.match(r"(?:<\.\.\. )?p?(read|write)", text)
            result = re.search(r" = (\d+)$", text)
            if call and result:
                totals[call[1]] += int(result[1])
        return calls, totals["read"], totals["write"]


def measure(bench):
    figures = {"start instructions": bench.instructions(["--version"])}
    for image, what, options in CASES:
        arguments = [*options, "image.qcow2"]
        bench.image(image, what)
        figures[f"{image} {what} instructions"] = bench.instructions(arguments) - figures["start instructions"]
        names = ["calls", "read"] if what.startswith("check") else ["calls", "read", "written"]
        runs = []
        for _ in range(STRACE_RUNS):
            if what == "rebuild":
                bench.image(image, what)
            runs.append(bench.traffic(arguments))
        figures |= {f"{image} {what} {name}": min(values) for name, values in zip(names, zip(*runs))}
    return figures


def load():
    compiler, figures = None, {}
    with open(EXPECTED, encoding="utf-8") as file:
        for line in file:
            if line.startswith("#") or not line.strip():
                continue
            if line.startswith("compiler "):
                compiler = line.split(maxsplit=1)[1].strip()
            else:
                name, value = line.rsplit(maxsplit=1)
                figures[name.rstrip()] = int(value)
    return compiler, figures


def save(compiler, figures):
    width = max(map(len, figures))
    with open(EXPECTED, "w", encoding="utf-8") as file:
        file.write("# What qcow2-dump costs on images of 64 GiB with -j 1; recorded by tests/speed/run.py --update\n")
        file.write(f"compiler {compiler}\n")
        file.writelines(f"{name:{width}} {value:12}\n" for name, value in figures.items())


def compare(figures, expected):
    """(what is wrong, what should be recorded anew)"""
    wrong = [f"{name}: recorded, but not measured" for name in expected if name not in figures]
    better = []
    for name, value in figures.items():
        before = expected.get(name)
        if before is None:
            wrong.append(f"{name}: {value}, never recorded")
            continue
        said = f"{name}: {value}, was {before} ({100 * (value - before) / before:+.1f} %)"
        if value > before * (1 + TOLERANCE):
            wrong.append(said)
        elif value < before * (1 - TOLERANCE):
            better.append(said)
    return wrong, better


def check_comparison(figures):
    """A comparison that lets everything pass would never be noticed otherwise."""
    def scaled(factor):
        return {name: round(value * factor) for name, value in figures.items()}
    assert compare(figures, figures) == ([], [])
    assert len(compare(figures, scaled(0.85))[0]) == len(figures)
    assert len(compare(figures, scaled(1.15))[1]) == len(figures)
    assert len(compare(figures, {})[0]) == len(compare({}, figures)[0]) == len(figures)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("make_image")
    parser.add_argument("compiler", help="that the program was built with: 'GNU 12.2.0'")
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    for tool in ("valgrind", "strace"):
        if not shutil.which(tool):
            cannot_measure(f"{tool} is missing (Debian has a package of that name)")
    if not options.update:
        compiler, expected = load()
        if compiler.split(".")[0] != options.compiler.split(".")[0]:
            cannot_measure(f"built by {options.compiler}, the figures were recorded with {compiler}")

    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        bench = Bench(os.path.abspath(options.program), os.path.abspath(options.make_image), folder)
        bench.require_tracing()
        reasons = incomparable(folder)
        if options.update and reasons:
            sys.exit("not to be recorded here: " + "; ".join(reasons.values()))
        figures = measure(bench)
    check_comparison(figures)
    if options.update:
        save(options.compiler, figures)
        return 0
    for kind, reason in reasons.items():
        print(f"the figures of {kind} are left out: {reason}")
        for name in [name for name in figures if name.endswith(f" {kind}")]:
            del figures[name], expected[name]
    wrong, better = compare(figures, expected)
    record = f"{sys.argv[0]} {options.program} {options.make_image} '{options.compiler}' --update"
    if better:
        print("better than recorded; record it anew, or it can get lost unseen:", *better, sep="\n  ")
    if wrong:
        print(f"more than {TOLERANCE:.0%} worse than recorded, or not comparable:", *wrong, sep="\n  ")
    if wrong or better:
        print(f"where that is meant: python3 {record}")
    print(f"{len(figures)} figures, {len(wrong)} worse, {len(better)} better than recorded")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
