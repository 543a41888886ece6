"""The registry of damages. Each is a function `name(image, rng, arg)`, found by its name with dashes.

It changes an open qcow2.Image at a place that `rng` chooses and returns the codes of the problems that a check must
name afterwards (`one|other`: either will do), and as `code?` those that it may name besides, depending on the image or
on the check's options (these may be patterns). A *harmless* one makes an unusual but healthy image and returns nothing.
"""

import random
from dataclasses import dataclass

from qcow2 import Image, Unsuitable

REGISTRY = {}


@dataclass
class Damage:
    name: str
    run: "callable"
    help: str
    harmless: bool


def damage(function, harmless=False):
    name = function.__name__.replace("_", "-")
    assert name not in REGISTRY, name
    REGISTRY[name] = Damage(name, function, function.__doc__.strip(), harmless)
    return function


def harmless(function):
    return damage(function, harmless=True)


def pick(rng, candidates, what="such place"):
    candidates = list(candidates)
    if not candidates:
        raise Unsuitable(f"the image has no {what}")
    return rng.choice(candidates)


def number(text, default=None):
    """'12', '0x10', '64k', '2M'; `default` if nothing is given."""
    if text is None or text == "":
        if default is None:
            raise ValueError("this damage wants an argument")
        return default
    units = {"k": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    return int(text[:-1], 0) * units[text[-1]] if text[-1] in units else int(text, 0)


def log_lines(size):
    """What a guest's log may look like."""
    line = b"[%5d.%06d] audit: backlog limit exceeded\n"
    return b"".join(line % (i // 9, i * 7919 % 1000000) for i in range(size // 40 + 1))[:size]


def apply(path, wanted, seed=0):
    """Does the damage `NAME` or `NAME=ARG` to the image; returns the codes of the problems it must show."""
    load_all()
    name, _, arg = wanted.partition("=")
    if name not in REGISTRY:
        raise KeyError(f"no damage is called {name}")
    with Image(path) as image:
        return tuple(REGISTRY[name].run(image, random.Random(f"{wanted}/{seed}"), arg or None) or ())


def load_all():
    from damages import (bitmaps, compressed, files, fuzz, header, mapping, overlaps, refcounts,  # noqa: F401
                         snapshots, variants)
