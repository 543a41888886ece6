"""Damages of the header and its extensions."""

import struct

import qcow2
from damages import damage, log_lines, number, pick
from qcow2 import Unsuitable


def v3(image):
    if image.version < 3:
        raise Unsuitable("a version 2 header has no such field")
    return image


@damage
def header_short(image, rng, arg):
    """cut the file to ARG (50) bytes"""
    image.truncate(number(arg, 50))
    return ["header.short"]


@damage
def header_magic(image, rng, arg):
    """overwrite one byte of the magic string"""
    image.write(rng.randrange(4), b"?")
    return ["header.magic"]


@damage
def header_zeroed(image, rng, arg):
    """overwrite the first cluster with zeros"""
    image.write(0, bytes(image.cluster_size))
    return ["header.magic"]


@damage
def header_text(image, rng, arg):
    """overwrite the first cluster with log lines of a guest"""
    image.write(0, log_lines(image.cluster_size))
    return ["header.magic"]


@damage
def header_ones(image, rng, arg):
    """overwrite the first 512 bytes with 0xff"""
    image.write(0, b"\xff" * 512)
    return ["header.magic"]


@damage
def header_version(image, rng, arg):
    """write version ARG (4)"""
    image["version"] = number(arg, 4)
    return ["header.version"]


@damage
def header_cluster_bits(image, rng, arg):
    """write cluster_bits ARG (8)"""
    image["cluster_bits"] = number(arg, 8)
    return ["header.cluster-bits"]


@damage
def header_length(image, rng, arg):
    """write header_length ARG (96)"""
    v3(image)["header_length"] = number(arg, 96)
    return ["header.length"]


@damage
def header_refcount_order(image, rng, arg):
    """write refcount_order ARG (7)"""
    v3(image)["refcount_order"] = number(arg, 7)
    return ["header.refcount-order"]


@damage
def incompatible_bit(image, rng, arg):
    """set incompatible feature bit ARG (one that nobody knows)"""
    v3(image)["incompatible_features"] |= 1 << number(arg, rng.randrange(5, 64))
    return ["header.incompatible"]


@damage
def autoclear_bit(image, rng, arg):
    """set autoclear feature bit ARG (one that nobody knows)"""
    v3(image)["autoclear_features"] |= 1 << number(arg, rng.randrange(2, 64))
    return ["header.autoclear"]


@damage
def dirty_bit(image, rng, arg):
    """set the dirty bit"""
    v3(image)["incompatible_features"] |= qcow2.DIRTY
    return ["header.dirty"]


@damage
def corrupt_bit(image, rng, arg):
    """set the corrupt bit"""
    v3(image)["incompatible_features"] |= qcow2.CORRUPT
    return ["header.corrupt"]


@damage
def compression_type(image, rng, arg):
    """write compression type ARG (2), the feature bit as it was"""
    if v3(image).header_length < 105:
        raise Unsuitable("the header has no compression type")
    image["compression_type"] = number(arg, 2)
    return ["header.compression-type"]


@damage
def compression_bit(image, rng, arg):
    """flip the compression type feature bit, the type as it was"""
    v3(image)["incompatible_features"] ^= qcow2.COMPRESSION
    return ["header.compression-type"]


@damage
def subclusters_bit(image, rng, arg):
    """claim extended L2 entries where clusters are too small for them"""
    if v3(image).cluster_size >= 16384:
        raise Unsuitable("the clusters are large enough")
    image["incompatible_features"] |= qcow2.EXTENDED_L2
    return ["header.subclusters"]


@damage
def extension_length(image, rng, arg):
    """let one header extension run past the first cluster"""
    image.put(pick(rng, image.extensions(), "header extension").at - 4, number(arg, image.cluster_size), 4)
    return ["header.extension"]


@damage
def extension_end_length(image, rng, arg):
    """let the end marker of the header extensions claim ARG bytes (more than there are)"""
    end = max([e.at + qcow2.align(len(e.data), 8) for e in image.extensions()] + [image.header_length])
    image.put(end + 4, number(arg, image.cluster_size), 4)
    return ["header.extension-end"]


@damage
def backing_format_length(image, rng, arg):
    """let the name of the backing format be too long"""
    name = b"x" * number(arg, 300)
    others = [(e.type, e.data) for e in image.extensions() if e.type != qcow2.EXT_BACKING_FORMAT]
    image.set_extensions([(qcow2.EXT_BACKING_FORMAT, name)] + others)
    return ["header.extension"]


@damage
def backing_name_offset(image, rng, arg):
    """put the backing file name outside the first cluster"""
    image["backing_file_offset"] = number(arg, 2 * image.cluster_size)
    image["backing_file_size"] = image["backing_file_size"] or 8
    return ["header.backing-name"]


@damage
def backing_name_length(image, rng, arg):
    """claim a backing file name of ARG (2000) bytes"""
    if not image["backing_file_offset"]:
        raise Unsuitable("the image has no backing file")
    image["backing_file_size"] = number(arg, 2000)
    return ["header.backing-name"]


@damage
def virtual_size(image, rng, arg):
    """write a virtual size of ARG (0)"""
    image["size"] = number(arg, 0)
    return ["header.virtual-size"]


@damage
def virtual_size_large(image, rng, arg):
    """write a virtual size that the L1 table is too small for"""
    image["size"] = number(arg, (image["l1_size"] + 1) * image.l2_entries * image.cluster_size)
    return ["header.l1-size"]


@damage
def l1_size(image, rng, arg):
    """write an L1 size of ARG (half of it)"""
    image["l1_size"] = number(arg, image["l1_size"] // 2)
    return ["header.l1-size"]


@damage
def l1_offset_unaligned(image, rng, arg):
    """let the L1 table begin in the midst of a cluster"""
    image["l1_table_offset"] += number(arg, rng.randrange(8, 512, 8))
    return ["header.l1-offset"]


@damage
def l1_offset_past_end(image, rng, arg):
    """let the L1 table lie past the end of the file"""
    image["l1_table_offset"] = qcow2.align(image.length, image.cluster_size) + image.cluster_size * rng.randrange(1, 99)
    return ["header.l1-offset"]


@damage
def reftable_offset_unaligned(image, rng, arg):
    """let the refcount table begin in the midst of a cluster"""
    image["refcount_table_offset"] += number(arg, rng.randrange(8, 512, 8))
    return ["header.refcount-table"]


@damage
def reftable_offset_past_end(image, rng, arg):
    """let the refcount table lie past the end of the file"""
    end = qcow2.align(image.length, image.cluster_size)
    image["refcount_table_offset"] = end + image.cluster_size * rng.randrange(1, 99)
    return ["header.refcount-table"]


@damage
def reftable_clusters(image, rng, arg):
    """claim a refcount table of ARG (0) clusters"""
    image["refcount_table_clusters"] = number(arg, 0)
    return ["header.refcount-table"]


@damage
def data_file_bit(image, rng, arg):
    """flip the external data file bit, the data file's name as it was"""
    v3(image)["incompatible_features"] ^= qcow2.DATA_FILE
    return ["l2.past-end?"] if image.external_data else ["header.data-file"]


@damage
def raw_data_bit(image, rng, arg):
    """say that the external data file is raw where there is no external data file"""
    if v3(image).external_data:
        raise Unsuitable("the image has an external data file")
    image["autoclear_features"] |= qcow2.RAW_DATA
    return ["header.data-file"]


@damage
def crypt_method(image, rng, arg):
    """write encryption method ARG (3)"""
    image["crypt_method"] = number(arg, 3)
    return ["header.crypt"]


@damage
def luks_place(image, rng, arg):
    """let the LUKS header lie at ARG (unaligned)"""
    extension = image.extension(qcow2.EXT_CRYPTO)
    offset, = struct.unpack(">Q", extension.data[:8])
    image.put(extension.at, number(arg, offset + 512 if image.cluster_size > 512 else offset + 8))
    return ["header.crypt"]


@damage
def luks_extension_lost(image, rng, arg):
    """drop the header extension that points at the LUKS header"""
    image.extension(qcow2.EXT_CRYPTO)
    image.set_extensions([(e.type, e.data) for e in image.extensions() if e.type != qcow2.EXT_CRYPTO])
    return ["header.crypt"]


@damage
def luks_header_garbage(image, rng, arg):
    """overwrite the beginning of the LUKS header"""
    offset, = struct.unpack(">Q", image.extension(qcow2.EXT_CRYPTO).data[:8])
    image.write(offset, rng.randbytes(512))
    return ["header.crypt"]
