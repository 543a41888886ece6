#!/usr/bin/env python3
"""Builds the image of every folder here, checks it, and compares what qcow2-dump says with the folder's `expected`.

    run.py BINARY [--update] [NAME…]      NAME: a folder, or a pattern such as 'snapshot.*'
    run.py BINARY --problems              proves that every problem that qcow2-dump knows has a folder here

A folder holds a `recipe` (tests/tools/mkimage.py tells its language; its line `expect` names codes that must be found,
whatever `expected` says) and `expected`: exit code and status, the totals, then one line a problem; where there are
problems also `repair`: what `-R all` would do, what it refuses, and the status then. With --update these two are written
anew: read the difference before you believe it. A run without names proves what --problems does, too.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
import json_document  # noqa: E402
import mkimage  # noqa: E402
import qemu  # noqa: E402
import recipes  # noqa: E402

# No bytes of an image make a read fail, so these rows have no folder: unit tests show them, with a file that fails.
SHOWN_BY_UNIT_TESTS = {
    "l1.unreadable": "unit/check_test.cc",
    "l2.unreadable": "unit/check_test.cc",
    "reftable.unreadable": "unit/check_test.cc",
    "refblock.unreadable": "unit/check_test.cc",
}
TIMEOUT = 120


class Failure(Exception):
    pass


def check(binary, arguments, folder):
    """(exit code, output) of a look at image.qcow2 in `folder`."""
    command = [binary, "--json", "-m", "error", *arguments, "image.qcow2"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise Failure(f"still running after {TIMEOUT} seconds") from None
    if done.returncode < 0 or b"Sanitizer" in done.stderr:
        raise Failure(f"crashed with {done.returncode}:\n{done.stderr.decode(errors='replace')}")
    return done.returncode, done.stdout


def readable(report, folder):
    """The JSON report as `expected` tells it."""
    def word(problem, key, short, form=str):
        return [f"{short}={form(problem[key])}"] if key in problem else []

    lines = [f"exit-code {report['exit-code']} status {report['status']}",
             " ".join(f"{key} {value}" for key, value in report.get("totals", {}).items())]
    for problem in report["problems"]:
        places = [problem["code"], *word(problem, "snapshot", "snapshot"), *word(problem, "l1-index", "l1"),
                  *word(problem, "l2-index", "l2"), *word(problem, "index", "index"),
                  *word(problem, "host-offset", "host", hex), *word(problem, "guest-offset", "guest", hex),
                  *word(problem, "found", "found", hex), *word(problem, "expected", "expected", hex),
                  *(word(problem, "count", "count") if problem.get("count", 1) != 1 else [])]
        lines.append(f"{' '.join(places)} | {problem['text']}")
    return "\n".join(lines).replace(folder + "/", "") + "\n"


def readable_plan(report, folder):
    """What `-R all` would do, as `repair` tells it."""
    plan = report["repair"]
    lines = [f"{a['class']} {a['code']} {hex(a['host-offset'])}+{a['bytes']} | {a['text']}" for a in plan["actions"]]
    lines += [f"refused {r['code']} | {r['text']}" for r in plan["refused"]]
    lines.append(f"status then {plan['planned-status']}")
    return "\n".join(lines).replace(folder + "/", "") + "\n"


def document(output):
    """The JSON, as docs/json.md describes it."""
    report = json.loads(output)
    if faults := json_document.faults(report):
        raise Failure("\n".join(faults))
    return report


def figures(report):
    """What no problem of compressed data changes."""
    return [report.get(key) for key in ("totals", "tables", "usage", "states")]


class Nobody:
    __enter__ = __exit__ = lambda *_: None


def settle(path):
    """A file system may allot blocks long after they were written; from now on they stay as they are."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def fingerprint(path):
    info = os.stat(path)
    return info.st_size, info.st_blocks, info.st_mtime_ns, info.st_ctime_ns


def run_one(binary, update, name):
    """Returns what is wrong, or nothing."""
    try:
        with tempfile.TemporaryDirectory(prefix="images-") as folder:
            recipe = mkimage.Recipe.load(os.path.join(HERE, name, "recipe"))
            image = recipe.build(folder)
            settle(image)
            before = fingerprint(image)
            with qemu.Writer(folder) if recipe.hold else Nobody():
                code, output = check(binary, recipe.arguments, folder)
                if check(binary, ["-j", "1", *recipe.arguments], folder) != (code, output):
                    raise Failure("with -j 1 the output is another one")
                decompressed = document(check(binary, ["-c", *recipe.arguments], folder)[1])
            if fingerprint(image) != before and not recipe.hold:
                raise Failure("the check wrote to the image")
            report, place = document(output), os.path.realpath(folder)
            if figures(decompressed) != figures(report):
                raise Failure("with -c the figures are others")
            wrong = compare(name, recipe, code, report, place, update)
            if wrong or recipe.hold or not report["problems"]:
                return wrong
            plan = document(check(binary, ["-R", "all", "--dry-run", *recipe.arguments], folder)[1])
            return same_text(os.path.join(HERE, name, "repair"), readable_plan(plan, place), update)
    except (Failure, mkimage.RecipeError, RuntimeError) as failure:
        return str(failure)
    except (KeyError, ValueError) as error:
        return f"no such JSON as expected: {error!r}"


def compare(name, recipe, code, report, folder, update):
    if code != report["exit-code"]:
        return f"exits with {code} but says {report['exit-code']}"
    if recipe.expect is None:
        return "the recipe has no line `expect`"
    found = {problem["code"] for problem in report["problems"]}
    if not recipe.expect and (found or code):
        return f"finds {' '.join(sorted(found)) or 'nothing'} and exits with {code}, where nothing is wrong"
    if missing := set(recipe.expect) - found:
        return f"does not find {' '.join(sorted(missing))}, but {' '.join(sorted(found)) or 'nothing'}"
    return same_text(os.path.join(HERE, name, "expected"), readable(report, folder), update)


def same_text(path, now, update):
    """The difference between what a file says and what is so, or nothing."""
    before = read(path)
    if update:
        with open(path, "w", encoding="utf-8") as file:
            file.write(now)
        return None
    if now == before:
        return None
    import difflib  # takes a while to load
    name = os.path.basename(path)
    return "".join(difflib.unified_diff(before.splitlines(True), now.splitlines(True), name, "found"))


def read(path):
    """A file's text, nothing if there is no such file."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def uncovered(binary):
    """Codes that no folder shows."""
    text = subprocess.run([binary, "--explain", "list"], capture_output=True, text=True, check=True).stdout
    listed = [line.split()[0] for line in text.split("\n\n", maxsplit=1)[0].splitlines()]
    shown = set()
    for name in recipes.names(HERE):
        shown |= {line.split()[0] for line in read(os.path.join(HERE, name, "expected")).splitlines() if " | " in line}
    for code, path in SHOWN_BY_UNIT_TESTS.items():
        text = read(os.path.join(HERE, "..", path))
        shown |= {code} if code in text or code.replace(".", "_") in text else set()
    return [code for code in listed if code not in shown], len(listed)


def main():
    parser = recipes.parser(__doc__)
    parser.add_argument("--problems", action="store_true", help="only prove that every problem has a folder")
    options, failed = parser.parse_intermixed_args(), 0
    if not options.problems:
        failed = recipes.run(HERE, options, functools.partial(run_one, options.binary, options.update), "images")
    if not options.names:
        missing, total = uncovered(options.binary)
        for code in missing:
            print(f"FAILED problem {code} is shown by no image")
        print(f"{total - len(missing)} of {total} problems are shown by an image")
        failed += len(missing)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
