"""The command line of a test whose cases are folders with a `recipe`: which of them, how many side by side, and whether
to write anew what is expected of them."""

import argparse
import contextlib
import fnmatch
import functools
import os

import mkimage


def names(folder):
    return sorted(n for n in os.listdir(folder) if os.path.exists(os.path.join(folder, n, "recipe")))


def parser(document):
    found = argparse.ArgumentParser(description=document.split("\n", maxsplit=1)[0])
    found.add_argument("binary", type=os.path.abspath)
    found.add_argument("names", nargs="*")
    found.add_argument("--update", action="store_true", help="write anew what is expected")
    found.add_argument("--jobs", type=int, default=2)
    return found


def named(job, name):
    return name, job(name)


@contextlib.contextmanager
def workers(count):
    """As map(), but so many at a time. For a single one it isn't worth to load what it takes."""
    if count < 2:
        yield map
        return
    import multiprocessing
    with multiprocessing.Pool(count) as pool:
        yield pool.imap_unordered


def run(folder, options, job, what):
    """How many failed of those that `options` name, or 1 if there is none. `job(name)` tells what is wrong, or nothing."""
    wanted = [n for n in names(folder) if not options.names or any(fnmatch.fnmatch(n, p) for p in options.names)]
    failed = 0
    with mkimage.cache(), workers(min(options.jobs, len(wanted))) as each:
        for name, wrong in each(functools.partial(named, job), wanted):
            if wrong:
                failed += 1
                print(f"FAILED {name}\n{wrong.rstrip()}\n", flush=True)
    print(f"{len(wanted) - failed} {what} passed, {failed} failed")
    return failed if wanted else 1
