#!/usr/bin/env python3
"""Holds JSON documents of qcow2-dump to docs/json.md: each key is described there, of its type, and there if it must be.

    json_document.py [--all-keys] [FILE…]     reads documents in a row (default: stdin), prints what is wrong

With --all-keys, what is described and stands in none of the documents is wrong as well.
"""

import functools
import json
import os
import re
import sys

DESCRIPTION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "json.md")
ROW = re.compile(r"^\| `([^`]+)` \| (\w+) \| ([^|]+) \|([^|]*)\|$")

TYPES = {
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 64,
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
}


@functools.cache
def described():
    """{key: (type, when)}"""
    with open(DESCRIPTION, encoding="utf-8") as file:
        rows = [match.groups() for line in file if (match := ROW.match(line))]
    return {key: (kind, when) for key, kind, when, _ in rows}


def parent(key):
    return key.rpartition(".")[0]


def faults(document, seen=None):
    """What is wrong with a document. The keys that it has are added to `seen`."""
    found = []
    must = {}
    for key, (_, when) in described().items():
        if when == "always" or (when == "opened" and document.get("status") != "failed"):
            must.setdefault(parent(key), set()).add(key)

    def look(place, value):
        if isinstance(value, list):
            for element in value:
                look(place + "[]", element)
        if not isinstance(value, dict):
            return
        keys = {f"{place}.{name}" if place else name: inner for name, inner in value.items()}
        found.extend(f"{key} is missing" for key in sorted(must.get(place, set()) - set(keys)))
        for key, inner in keys.items():
            if seen is not None:
                seen.add(key)
            if key not in described():
                found.append(f"{key} isn't described in docs/json.md")
            elif not TYPES[described()[key][0]](inner):
                found.append(f"{key} is no {described()[key][0]}: {inner!r:.100}")
            else:
                look(key, inner)

    look("", document)
    return sorted(set(found))


def documents(text):
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:].lstrip()


def main():
    all_keys = "--all-keys" in sys.argv
    names = [name for name in sys.argv[1:] if name != "--all-keys"]
    texts = []
    for name in names:
        with open(name, encoding="utf-8") as file:
            texts.append(file.read())
    seen, wrong = set(), []
    for text in texts if names else [sys.stdin.read()]:
        for document in documents(text):
            wrong += faults(document, seen)
    if all_keys:
        wrong += [f"{key} is described, but in none of the documents" for key in described() if key not in seen]
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
