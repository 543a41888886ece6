"""Damages of compressed clusters."""

from damages import damage, pick
from damages.mapping import used_l2
from qcow2 import COMPRESSED, COPIED, Unsuitable, align


def descriptor(image, offset, sectors=1):
    return COMPRESSED | (sectors - 1) << (62 - (image.cluster_bits - 8)) | offset


@damage
def compressed_copied(image, rng, arg):
    """set COPIED of a compressed cluster"""
    entry = used_l2(image, rng, "compressed")
    image.put(entry.at, entry.value | COPIED)
    return ["compressed.copied"]


@damage
def compressed_bitmap(image, rng, arg):
    """give a compressed cluster a subcluster bitmap"""
    if not image.extended_l2:
        raise Unsuitable("the L2 entries are not extended")
    entry = used_l2(image, rng, "compressed")
    image.put(entry.at + 8, rng.randrange(1, 1 << 64))
    return ["compressed.bitmap"]


@damage
def compressed_high_bits(image, rng, arg):
    """let a compressed cluster lie beyond 2^56"""
    if image.cluster_bits > 13:
        raise Unsuitable("with such clusters a descriptor has no bits beyond 2^56")
    entry = used_l2(image, rng, "compressed")
    image.put(entry.at, entry.value | 1 << rng.randrange(56, 62 - (image.cluster_bits - 8)))
    return ["compressed.high-bits"]


@damage
def compressed_past_end(image, rng, arg):
    """let a compressed cluster lie past the end of the file"""
    entry = used_l2(image, rng, "compressed")
    place = align(image.length, image.cluster_size) + rng.randrange(1, 1000) * image.cluster_size + rng.randrange(512)
    image.put(entry.at, descriptor(image, place))
    return ["compressed.past-end"]


@damage
def compressed_garbage(image, rng, arg):
    """overwrite the beginning of compressed data"""
    entry = used_l2(image, rng, "compressed")
    image.write(entry.host, b"\x07" + rng.randbytes(15))  # 7: a deflate block of a type that doesn't exist
    return ["compressed.payload"]


@damage
def compressed_cut(image, rng, arg):
    """claim one sector only for compressed data that has more"""
    long = [e for e in image.entries("compressed") if e.size > 1024]
    entry = pick(rng, long, "compressed cluster of several sectors")
    image.put(entry.at, descriptor(image, entry.host))
    return ["compressed.payload"]


@damage
def compressed_data_file(image, rng, arg):
    """put a compressed cluster into an image with an external data file"""
    if not image.external_data:
        raise Unsuitable("the image has no external data file")
    entry = used_l2(image, rng)
    image.put(entry.at, descriptor(image, rng.randrange(image.cluster_size, image.length)))
    return ["compressed.data-file"]
