"""What QEMU makes of an image: the verdict of its check, what the guest reads, and its locks."""

import json
import re
import subprocess

import mkimage

TOTALS = ("corruptions", "leaks", "check-errors", "image-end-offset", "total-clusters", "allocated-clusters",
          "fragmented-clusters", "compressed-clusters")
# qemu-img check exits with -> our exit codes of that class. 1: it met errors on its way, but came to the end.
CLASSES = {0: range(0, 1), 3: range(1, 2), 2: range(2, 7), 1: range(2, 7)}
TIMEOUT = 60
LARGEST_WITH_ERRORS = 1 << 30  # every unit of such a disk is read


def opening(encryption=None, backing=False, data_file=True):
    """How a tool of QEMU is told to open image.qcow2. Without a data file there are zeros in its place."""
    options = {"driver": "qcow2", "file": {"driver": "file", "filename": "image.qcow2"}}
    if not backing:
        options["backing"] = None
    if encryption:
        options["encrypt"] = {"format": encryption, "key-secret": "key"}
    if not data_file:
        options["data-file"] = {"driver": "null-co", "size": 16 << 20, "read-zeroes": True}
    return [*(mkimage.SECRET if encryption else []), "json:" + json.dumps(options)]


def check_command(image):
    return ["qemu-img", "check", "--output=json", *image]


def check(image, folder):
    """(exit code, totals or nothing); `image` is made by opening()."""
    done = subprocess.run(check_command(image), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          timeout=TIMEOUT, check=False)
    if not done.stdout.strip():
        return done.returncode, None
    report = json.loads(done.stdout)
    return done.returncode, {key: report.get(key, 0) for key in TOTALS}


def refusal(folder, name="image.qcow2"):
    """Why QEMU doesn't open the image; nothing if it does. Without a key, or a look at the backing file."""
    done = subprocess.run(["qemu-img", "info", "-f", "qcow2", name], cwd=folder, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
    return done.stderr.decode(errors="replace").strip() if done.returncode else None


def convert(image, folder, target, *options):
    """(exit code, what it complained of) of a copy of what the guest reads to the raw file `target`."""
    done = subprocess.run(["qemu-img", "convert", "-O", "raw", *options, *image, target], cwd=folder,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
    return done.returncode, done.stderr


def read_guest(image, folder, target, disk, unit, snapshot=None):
    """Writes to `target` what the guest reads of a disk of `disk` bytes; returns the offsets of the sectors that it
    can't read (to the `unit`), or nothing if QEMU can't open the image. Opened read-only, QEMU goes on behind the
    damage it meets, even where it calls it fatal. It warns of each sector alone, some hundred thousand of them and
    ten times slower than without: so that is asked for only where nothing else tells the places."""
    state = ["-l", "snapshot.id=" + snapshot.replace(",", ",,")] if snapshot else []
    try:
        code, said = convert(image, folder, target, *state)
        if code == 0:
            return set()
        if b"error while reading" not in said or disk > LARGEST_WITH_ERRORS:
            return None
        code, said = convert(image, folder, target, "--salvage", *(state or ["-q"]))
        if code:
            return None
        return {int(at) for at in re.findall(rb"error while reading offset (\d+)", said)} if state else \
            unreadable(image, folder, disk, unit)
    except subprocess.TimeoutExpired:
        return None


def unreadable(image, folder, disk, unit):
    """The sectors of all units of the disk that can't be read."""
    starts = range(0, disk, unit)
    commands = "".join(f"read {at} {min(unit, disk - at)}\n" for at in starts)
    done = subprocess.run(["qemu-io", "-r", *image], cwd=folder, input=commands.encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, timeout=TIMEOUT, check=False)
    good = {int(at) for at in re.findall(rb"bytes at offset (\d+)", done.stdout)}
    return {sector for at in starts if at not in good for sector in range(at, min(at + unit, disk), 512)}


class Writer:
    """qemu-io, with the image open for writing."""

    def __init__(self, folder):
        self.process = subprocess.Popen(["qemu-io", "-f", "qcow2", "image.qcow2"], cwd=folder, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def __enter__(self):
        seen = b""
        while not seen.endswith(b"qemu-io> "):
            byte = self.process.stdout.read(1)
            if not byte:
                raise RuntimeError("qemu-io can't hold the image")
            seen += byte

    def __exit__(self, *_):
        self.process.communicate(b"quit\n")
