"""A folder with an image and whatever belongs to it: copied and compared with its holes, since some files are a
terabyte long and nothing but holes."""

import hashlib
import os

STEP = 1 << 20


def extents(descriptor):
    """(offset, end) of whatever isn't a hole."""
    at, end = 0, os.fstat(descriptor).st_size
    while at < end:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole up to the end
            return
        stop = os.lseek(descriptor, at, os.SEEK_HOLE)
        yield at, stop
        at = stop


def copy(source, target):
    os.makedirs(target, exist_ok=True)
    for name in os.listdir(source):
        with open(os.path.join(source, name), "rb", buffering=0) as old, \
                open(os.path.join(target, name), "wb", buffering=0) as new:
            new.truncate(os.fstat(old.fileno()).st_size)
            for start, stop in extents(old.fileno()):
                for at in range(start, stop, STEP):
                    os.pwrite(new.fileno(), os.pread(old.fileno(), min(stop - at, STEP), at), at)


def digest(path):
    """(length, sha256 of the content). A hole and written zeros are the same content."""
    zeros, total = bytes(STEP), hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        done = 0
        for start, stop in extents(file.fileno()):
            for at in range(max(done, start - start % STEP), stop, STEP):
                data = os.pread(file.fileno(), STEP, at)
                if data != zeros[:len(data)]:
                    total.update(at.to_bytes(8, "big") + data)
                done = at + STEP
        return os.fstat(file.fileno()).st_size, total.hexdigest()


def digests(folder):
    return {name: digest(os.path.join(folder, name)) for name in sorted(os.listdir(folder))}


def differences(one, other, unit=512):
    """Offsets of the units in which two files of one length differ."""
    with open(one, "rb", buffering=0) as a, open(other, "rb", buffering=0) as b:
        places = {at for file in (a, b) for start, stop in extents(file.fileno())
                  for at in range(start - start % STEP, stop, STEP)}
        for place in sorted(places):
            left, right = os.pread(a.fileno(), STEP, place), os.pread(b.fileno(), STEP, place)
            if left != right:
                yield from (place + at for at in range(0, len(left), unit) if left[at:at + unit] != right[at:at + unit])
