#!/usr/bin/env python3
"""Builds an image from a recipe, the same bytes every time (but for LUKS keys).

    mkimage.py RECIPE OUTDIR        makes OUTDIR/image.qcow2 and whatever files go with it

One step a line; sizes and offsets as in `64k`; `#` begins a comment:

    create size=64M [file=NAME] [format=FMT] [backing=NAME] [backing_fmt=FMT] [any other option of qemu-img create -o]
    write OFFSET LENGTH pattern=0x11 | noise=SEED     (noise compresses to about a half)
    compressed-write OFFSET LENGTH pattern=… | noise=…
    zero OFFSET LENGTH [unmap]         write zeros; unmap: free the clusters
    recompress                         all data, in one go: clusters of compressed data share host clusters
    discard OFFSET LENGTH
    crash-write OFFSET LENGTH pattern=…   write, flush, and die without closing
    vm-state OFFSET LENGTH pattern=…   write behind the end of the disk, where VM states live
    snapshot NAME | apply NAME | delete-snapshot NAME
    bitmap NAME [granularity=64k]
    qemu-io COMMAND…                   several commands in one process
    resize SIZE | amend OPTION=VALUE…
    damage NAME[=ARG] [seed=N]         see damage.py --list
    edit NAME[=ARG] [seed=N]           the same for its harmless changes
    set FIELD VALUE                    a header field
    poke OFFSET HEXBYTES
    file NAME SIZE [pattern=0x11]      a raw file
    unlink NAME | move NAME NEWNAME

What a test does with the image is told in the same file, read by tests/images/run.py:

    check ARGUMENT…                    more arguments for qcow2-dump
    hold                               a writer (qemu-io) has the image open during the check
    expect CODE… | nothing             codes that the check must name, at least

QEMU's processes take longest of all this, and many recipes begin alike: what the steps up to the last one of QEMU's make
is kept for all that have the same, in the folder that IMAGE_CACHE names. Several processes may share it, and a later run.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile

import damages
import folders
from qcow2 import Image, Snapshot

HERE = os.path.dirname(os.path.abspath(__file__))
WITHOUT_QEMU = ("damage", "edit", "set", "poke", "file", "unlink", "move")
SECRET = ["--object", "secret,id=key,data=secret"]
DATE = 1700000000  # of every snapshot


class RecipeError(Exception):
    pass


class Recipe:
    def __init__(self, text, name="recipe"):
        self.steps, self.arguments, self.expect, self.hold = [], [], None, False
        for number, line in enumerate(text.splitlines(), 1):
            words = shlex.split(line, comments=True)
            where = f"{name}:{number}"
            if not words:
                continue
            if words[0] == "check":
                self.arguments += words[1:]
            elif words[0] == "expect":
                self.expect = (self.expect or []) + [w for w in words[1:] if w != "nothing"]
            elif words[0] == "hold":
                self.hold = True
            elif hasattr(Builder, "do_" + words[0].replace("-", "_")):
                self.steps.append((where, words))
            else:
                raise RecipeError(f"{where}: no step is called {words[0]}")

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as file:
            return cls(file.read(), path)

    @property
    def encryption(self):
        return next((kind for kind in ("luks", "aes") for _, words in self.steps if f"encrypt.format={kind}" in words),
                    None)

    def build(self, folder):
        """Makes the image in `folder`; returns its path."""
        builder = Builder(folder)
        by_qemu = [number for number, (_, words) in enumerate(self.steps, 1) if words[0] not in WITHOUT_QEMU]
        known = by_qemu[-1] if by_qemu and "IMAGE_CACHE" in os.environ else 0
        if known:
            builder.begin_with(*kept(self.steps[:known]))
        builder.follow(self.steps[known:])
        return builder.path


@contextlib.contextmanager
def cache():
    """Recipes share what QEMU makes, for as long as this lasts if IMAGE_CACHE names no folder."""
    if "IMAGE_CACHE" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="images-cache-") as os.environ["IMAGE_CACHE"]:
        yield
    del os.environ["IMAGE_CACHE"]


@functools.cache
def cache_folder():
    """For these tools and this QEMU; what others have made is deleted."""
    state = hashlib.sha256(repr(os.stat(shutil.which("qemu-img"))[6:9:2]).encode())
    for place, _, names in sorted(os.walk(HERE)):
        for name in sorted(n for n in names if n.endswith(".py")):
            with open(os.path.join(place, name), "rb") as file:
                state.update(file.read())
    root, own = os.environ["IMAGE_CACHE"], state.hexdigest()
    if not os.path.exists(os.path.join(root, own)):
        for old in os.listdir(root) if os.path.exists(root) else []:
            shutil.rmtree(os.path.join(root, old), ignore_errors=True)
        os.makedirs(os.path.join(root, own), exist_ok=True)
    return os.path.join(root, own)


def kept(steps):
    """(folder with what the steps make, what the builder knows then)"""
    said = "\n".join(shlex.join(words) for _, words in steps)
    place = os.path.join(cache_folder(), hashlib.sha256(said.encode()).hexdigest())
    with open(place + ".json", "a+", encoding="utf-8") as state:
        fcntl.flock(state, fcntl.LOCK_EX)
        if not os.path.exists(place):
            with tempfile.TemporaryDirectory(dir=cache_folder()) as unfinished:
                builder = Builder(os.path.join(unfinished, "image"))
                builder.follow(steps)
                state.truncate(0)
                json.dump([builder.name, builder.encrypted], state)
                state.flush()
                os.rename(builder.folder, place)
        state.seek(0)
        return place, json.load(state)


def secret_options(encrypted, file):
    """How qemu-img and qemu-io are told to open a file: (arguments before, name)."""
    if encrypted:
        return [*SECRET, "--image-opts"], f"driver=qcow2,encrypt.key-secret=key,file.filename={file}"
    return ["--image-opts"], f"driver=qcow2,file.filename={file}"


class Builder:
    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.name, self.encrypted = "image.qcow2", False

    def begin_with(self, made, state):
        folders.copy(made, self.folder)
        self.name, self.encrypted = state

    def follow(self, steps):
        for where, words in steps:
            plain = [w for w in words[1:] if "=" not in w or words[0] in ("damage", "edit") and w is words[1]]
            named = dict(w.split("=", 1) for w in words[1:] if w not in plain)
            try:
                getattr(self, "do_" + words[0].replace("-", "_"))(*plain, **named)
            except Exception as error:
                raise RecipeError(f"{where}: {' '.join(words)}: {error}") from error

    @property
    def path(self):
        return os.path.join(self.folder, self.name)

    def run(self, *command, status=0):
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode != status or "failed" in done.stdout:
            raise RecipeError(f"{shlex.join(command)} exits with {done.returncode}: {done.stderr}{done.stdout}")

    def img(self, verb, *arguments, after=()):
        opening, name = secret_options(self.encrypted, self.name)
        self.run("qemu-img", verb, *opening, *arguments, name, *after)

    def io(self, *commands, status=0):
        opening, name = secret_options(self.encrypted, self.name)
        self.run("qemu-io", *opening, *[x for c in commands for x in ("-c", c)], name, status=status)

    def do_create(self, size, file="image.qcow2", format="qcow2", backing=None, backing_fmt=None, **options):
        self.name, self.encrypted = file, any(key.startswith("encrypt") for key in options)
        if self.encrypted:
            options["encrypt.key-secret"] = "key"
        chain = ["-u", "-b", backing, *(["-F", backing_fmt] if backing_fmt else [])] if backing else []
        listed = ",".join(f"{key}={value}" for key, value in options.items())
        # QEMU times 2^15 steps of its key derivation, and gives up when the kernel's count of CPU time has not moved
        # meanwhile: with a tick of 4 ms, in one of five attempts; on a quicker processor in most.
        for left in reversed(range(100)):
            try:
                return self.run("qemu-img", "create", "-q", "-f", format, *(SECRET if self.encrypted else []),
                                *(["-o", listed] if listed else []), *chain, file, size)
            except RecipeError as error:
                if not left or "accurate CPU usage" not in str(error):
                    raise

    def do_write(self, offset, length, pattern=None, noise=None, flags=""):
        if noise is None:
            self.io(f"write {flags} -P {pattern} {offset} {length}")
            return
        source = os.path.join(self.folder, "noise")
        with open(source, "wb") as file:
            file.write(bytes(b & 15 for b in random.Random(noise).randbytes(damages.number(length))))
        self.io(f"write {flags} -s noise {offset} {length}")
        os.unlink(source)

    def do_compressed_write(self, offset, length, **content):
        # Cluster by cluster: QEMU compresses several in threads, and stores them in the order they get ready.
        with Image(self.path) as image:
            step = image.cluster_size
        start, size = damages.number(offset), damages.number(length)
        for at in range(start, start + size, step):
            own = {key: f"{value}/{at}" if key == "noise" else value for key, value in content.items()}
            self.do_write(str(at), str(min(step, start + size - at)), flags="-c", **own)

    def do_recompress(self):
        with Image(self.path) as image:
            size = image.cluster_size
        self.run("qemu-img", "convert", "-q", "-c", "-m", "1", "-O", "qcow2", "-o", f"cluster_size={size}", self.name, "packed")
        os.replace(os.path.join(self.folder, "packed"), self.path)

    def do_vm_state(self, offset, length, pattern):
        self.do_write(offset, length, pattern, flags="-b")

    def do_zero(self, offset, length, unmap=None):
        self.io(f"write -z {'-u' if unmap else ''} {offset} {length}")

    def do_discard(self, offset, length):
        self.io(f"discard {offset} {length}")

    def do_crash_write(self, offset, length, pattern):
        self.io(f"write -P {pattern} {offset} {length}", "flush", "abort", status=-6)

    def do_qemu_io(self, *commands):
        self.io(*commands)

    def do_snapshot(self, name):
        self.img("snapshot", "-c", name)
        with Image(self.path) as image:
            for snapshot in image.snapshots():
                image.put(snapshot.at + Snapshot.FIELDS["date_sec"][0], DATE << 32)

    def do_apply(self, name):
        self.img("snapshot", "-a", name)

    def do_delete_snapshot(self, name):
        self.img("snapshot", "-d", name)

    def do_bitmap(self, name, granularity="64k"):
        self.img("bitmap", "--add", "-g", granularity, after=(name,))

    def do_resize(self, size):
        with Image(self.path) as image:
            shrink = ["--shrink"] if damages.number(size) < image["size"] else []
        self.img("resize", "-q", *shrink, after=(size,))

    def do_amend(self, **options):
        self.img("amend", "-o", ",".join(f"{key}={value}" for key, value in options.items()))

    def do_damage(self, name, seed="0"):
        self.change(name, seed, harmless=False)

    def do_edit(self, name, seed="0"):
        self.change(name, seed, harmless=True)

    def change(self, name, seed, harmless):
        damages.load_all()
        known = damages.REGISTRY.get(name.partition("=")[0])
        if known and known.harmless != harmless:
            raise RecipeError("harmless changes are made with `edit`, others with `damage`")
        damages.apply(self.path, name, seed)

    def do_set(self, field, value):
        with Image(self.path) as image:
            image[field] = int(value, 0)

    def do_poke(self, offset, data):
        with open(self.path, "r+b") as file:
            file.seek(damages.number(offset))
            file.write(bytes.fromhex(data))

    def do_file(self, name, size, pattern="0"):
        with open(os.path.join(self.folder, name), "wb") as file:
            if int(pattern, 0):
                file.write(bytes([int(pattern, 0)]) * damages.number(size))
            file.truncate(damages.number(size))

    def do_unlink(self, name):
        os.unlink(os.path.join(self.folder, name))

    def do_move(self, name, new):
        os.rename(os.path.join(self.folder, name), os.path.join(self.folder, new))
        self.name = new if self.name == name else self.name


def main():
    if len(sys.argv) != 3:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        print(Recipe.load(sys.argv[1]).build(sys.argv[2]))
    except (OSError, RecipeError) as error:
        print(f"mkimage.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
