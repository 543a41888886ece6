#!/usr/bin/env python3
"""Damages a qcow2 image in one named, reproducible way.

    damage.py IMAGE NAME[=ARG] [--seed N]     prints the problem codes that a check must now name
    damage.py --list                          all names, what they do
"""

import argparse
import sys

import damages
from qcow2 import Unsuitable


def main():
    parser = argparse.ArgumentParser(description="damage a qcow2 image in one named, reproducible way")
    parser.add_argument("image", nargs="?")
    parser.add_argument("name", nargs="?", metavar="NAME[=ARG]")
    parser.add_argument("--seed", default="0", help="chooses the victim (default: 0)")
    parser.add_argument("--list", action="store_true", help="list the damages")
    options = parser.parse_args()
    damages.load_all()
    if options.list:
        for name, entry in sorted(damages.REGISTRY.items()):
            print(f"{name:30} {'(harmless) ' if entry.harmless else ''}{' '.join(entry.help.split())}")
        return 0
    if not options.name:
        parser.error("IMAGE and NAME are needed")
    try:
        print(" ".join(damages.apply(options.image, options.name, options.seed)))
    except (KeyError, ValueError, Unsuitable) as error:
        print(f"damage.py: {error.args[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
