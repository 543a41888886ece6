#!/usr/bin/env python3
"""Forges an undo log, as whoever can create a file beside an image can: it says that a change of the image was
interrupted, and that before it the image held other bytes.

    forge_log.py IMAGE LOG OFFSET HEXBYTES [FORMAT]

All its checksums fit, and it names the image and itself as the real ones do. FORMAT 1 is the first version's, which
named neither.
"""

import os
import struct
import sys
import zlib

SECTOR, MIB = 512, 1 << 20
INTERRUPTED = 1


def forge(image, log, offset, wanted, form):
    with open(image, "rb") as file:
        content = file.read()
    size = len(content)
    start, end = offset // SECTOR * SECTOR, -(-(offset + len(wanted)) // SECTOR) * SECTOR
    now = content[start:end]
    before = bytearray(now)
    before[offset - start:offset - start + len(wanted)] = wanted
    # Each sector was changed to what it holds now, and was to be changed once more.
    sums = [zlib.crc32(now[at:at + SECTOR]) for at in range(0, len(now), SECTOR)]
    tail = bytes(before) + struct.pack(f">{2 * len(sums)}I", *sums, *[0] * len(sums))
    record = struct.pack(">QQI", start, len(before), 2)
    record += struct.pack(">I", zlib.crc32(tail, zlib.crc32(record))) + tail

    first = content[:start] + bytes(before) + content[end:]
    with open(log, "wb") as file:
        name = os.path.basename(image).encode()
        head = b"qdundo\r\n" + struct.pack(">IIQQQQqqII", form, INTERRUPTED, size, size, 1, SECTOR + len(record), 0, 0,
                                           zlib.crc32(first[:MIB]), len(name)) + name
        head = head.ljust(SECTOR - 4, b"\0")
        if form > 1:
            own = struct.pack(">QQQ", os.statvfs(image).f_fsid, os.stat(image).st_ino, os.fstat(file.fileno()).st_ino)
            head = head[:-len(own)] + own
        file.write(head + struct.pack(">I", zlib.crc32(head)) + record)


if __name__ == "__main__":
    forge(sys.argv[1], sys.argv[2], int(sys.argv[3], 0), bytes.fromhex(sys.argv[4]),
          int(sys.argv[5]) if len(sys.argv) > 5 else 2)
