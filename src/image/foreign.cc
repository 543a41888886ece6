#include "image/foreign.h"

#include <array>
#include <span>
#include <string>

#include "base/endian.h"

namespace qd::image {
namespace {

using namespace std::string_view_literals;

// `from_end`: counted from the end of the file.
struct Signature {
  std::uint64_t offset;
  std::string_view bytes;
  Foreign foreign;
  bool from_end = false;
};

// A boot sector stands in front of many file systems, so it comes last.
constexpr std::array signatures{
    Signature{0, "KDMV"sv, {"vmdk", "a VMDK image", true}},
    Signature{0, "COWD"sv, {"vmdk", "a VMDK image", true}},
    Signature{0, "# Disk Desc"sv, {"vmdk", "the description of a VMDK image", true}},
    Signature{0, "vhdxfile"sv, {"vhdx", "a VHDX image", true}},
    Signature{0, "conectix"sv, {"vhd", "a VHD image", true}},
    Signature{64, "\x7f\x10\xda\xbe"sv, {"vdi", "a VDI image", true}},
    Signature{0, "QED\0"sv, {"qed", "a QED image", true}},
    Signature{0, "WithoutFreeSpace"sv, {"parallels", "a Parallels image", true}},
    Signature{0, "WithouFreSpacExt"sv, {"parallels", "a Parallels image", true}},
    Signature{512, "conectix"sv, {"vhd", "a VHD image", true}, true},
    Signature{512, "koly"sv, {"dmg", "a DMG image", true}, true},
    Signature{0, "\x1f\x8b\x08"sv, {"gzip", "a gzip file"}},
    Signature{0,
              "\xfd"
              "7zXZ\0"sv,
              {"xz", "an xz file"}},
    Signature{0, "\x28\xb5\x2f\xfd"sv, {"zstd", "a zstd file"}},
    Signature{0, "BZh"sv, {"bzip2", "a bzip2 file"}},
    Signature{0, "PK\3\4"sv, {"zip", "a zip file"}},
    Signature{257, "ustar"sv, {"tar", "a tar file"}},
    Signature{0, "LUKS\xba\xbe"sv, {"luks", "a LUKS volume"}},
    Signature{512, "EFI PART"sv, {"raw", "a raw disk with a GPT partition table"}},
    Signature{4096, "EFI PART"sv, {"raw", "a raw disk with a GPT partition table"}},
    Signature{512, "LABELONE"sv, {"raw", "a physical volume of LVM"}},
    Signature{0, "XFSB"sv, {"raw", "an XFS file system"}},
    Signature{1080, "\x53\xef"sv, {"raw", "an ext2, ext3 or ext4 file system"}},
    Signature{0x10040, "_BHRfS_M"sv, {"raw", "a Btrfs file system"}},
    Signature{0, "hsqs"sv, {"raw", "a SquashFS file system"}},
    Signature{32769, "CD001"sv, {"raw", "an ISO 9660 file system"}},
    Signature{3, "NTFS    "sv, {"raw", "an NTFS file system"}},
    Signature{54, "FAT1"sv, {"raw", "a FAT file system"}},
    Signature{82, "FAT32"sv, {"raw", "a FAT file system"}},
    Signature{4086, "SWAPSPACE2"sv, {"raw", "swap space"}},
    Signature{510, "\x55\xaa"sv, {"raw", "a raw disk with a boot sector"}},
};

std::string bytes_at(const File& file, std::uint64_t offset, std::size_t count) {
  std::string bytes(count, '\0');
  if (!file.read(offset, std::as_writable_bytes(std::span(bytes)))) bytes.clear();
  return bytes;
}

// Is it an image of qcow version 1? The two bytes looked at belong to crypt_method in a header of version 2 or 3, where
// they are 0.
bool is_qcow1(const File& file) {
  const std::string start = bytes_at(file, 0, 48);
  if (!start.starts_with("QFI\xfb\0\0\0\1"sv)) return false;
  const int cluster_bits = start[32], l2_bits = start[33];
  return cluster_bits >= 9 && cluster_bits <= 16 && l2_bits >= 6 && l2_bits <= 13;
}

// Looks for the refcount table in the second cluster, and its first block in the third: QEMU puts them there.
bool hides_qcow2(const File& file) {
  for (unsigned bits = 9; bits <= 21; ++bits) {
    const std::uint64_t table = std::uint64_t{1} << bits;
    const std::string entry = bytes_at(file, table, 8);
    if (entry.empty() ||
        load_big_endian<std::uint64_t>(reinterpret_cast<const std::byte*>(entry.data())) != 2 * table) {
      continue;
    }
    const std::string block = bytes_at(file, 2 * table, 8);
    if (block.find_first_not_of('\0') != block.npos) return true;
  }
  return false;
}

}  // namespace

std::optional<Foreign> looks_like(const File& file) {
  for (const Signature& s : signatures) {
    if (s.from_end && file.size() < s.offset) continue;
    const std::uint64_t at = s.from_end ? file.size() - s.offset : s.offset;
    if (at + s.bytes.size() > file.size() || bytes_at(file, at, s.bytes.size()) != s.bytes) continue;
    return s.foreign;
  }
  return std::nullopt;
}

std::optional<Foreign> foreign(const File& file) {
  if (is_qcow1(file)) return Foreign{"qcow", "an image of the first version of qcow", true};
  const auto found = looks_like(file);
  return found && hides_qcow2(file) ? std::nullopt : found;
}

}  // namespace qd::image
