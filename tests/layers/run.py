#!/usr/bin/env python3
"""Holds the includes of src/ to the arrows of docs/design.md.

    run.py [SOURCE]         SOURCE: another tree than the project's

The line of layers there reads "a → b, c → d": whoever stands left of an arrow may use all that stands right of it, and
of those between two arrows none may use another. A folder that the line doesn't name, or a name without a folder, is as
wrong as an include against the arrows.
"""

import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def layers(design):
    """{folder: how low it stands} from the document's line of layers."""
    with open(design, encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("    ") and "→" in line)
    return {name: height for height, names in enumerate(line.split("→")) for name in re.findall(r"\w+", names)}


def includes(source):
    """(path, line number, folder that includes, folder included) of every include of the project's own headers."""
    for folder, _, names in sorted(os.walk(source)):
        for name in sorted(names):
            if not name.endswith((".h", ".cc")):
                continue
            path = os.path.join(folder, name)
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    if found := re.match(r'#include "(\w+)/', line):
                        yield path, number, os.path.relpath(path, source).split(os.sep)[0], found[1]


def main():
    source = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "src")
    heights = layers(os.path.join(ROOT, "docs", "design.md"))
    folders = {name for name in os.listdir(source) if os.path.isdir(os.path.join(source, name))}
    faults = [f"src/{name} is in no layer of docs/design.md" for name in sorted(folders - heights.keys())]
    faults += [f"docs/design.md names the layer {name}, and there is no src/{name}" for name in heights.keys() - folders]
    count = 0
    for path, number, user, used in includes(source):
        count += 1
        allowed = user == used or heights.get(user, 0) < heights.get(used, -1)
        if not allowed:
            faults.append(f"{os.path.relpath(path, ROOT)}:{number}: {user} must not include {used}")
    print(*faults, f"{count} includes looked at, {len(faults)} against the arrows", sep="\n")
    return bool(faults) or count == 0


if __name__ == "__main__":
    sys.exit(main())
