"""The command line of a test whose cases are folders with a `recipe`: which of them, how many side by side, and whether
to write anew what is expected of them."""

import argparse
import fnmatch
import functools
import multiprocessing
import os


def names(folder):
    return sorted(n for n in os.listdir(folder) if os.path.exists(os.path.join(folder, n, "recipe")))


def arguments(document):
    parser = argparse.ArgumentParser(description=document.split("\n", maxsplit=1)[0])
    parser.add_argument("binary", type=os.path.abspath)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--update", action="store_true", help="write anew what is expected")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_intermixed_args()


def named(job, name):
    return name, job(name)


def run(folder, options, job, what):
    """How many failed of those that `options` name, or 1 if there is none. `job(name)` tells what is wrong, or nothing."""
    wanted = [n for n in names(folder) if not options.names or any(fnmatch.fnmatch(n, p) for p in options.names)]
    failed = 0
    with multiprocessing.Pool(options.jobs) as pool:
        for name, wrong in pool.imap_unordered(functools.partial(named, job), wanted):
            if wrong:
                failed += 1
                print(f"FAILED {name}\n{wrong.rstrip()}\n", flush=True)
    print(f"{len(wanted) - failed} {what} passed, {failed} failed")
    return failed if wanted else 1
