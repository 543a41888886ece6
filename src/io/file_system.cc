#include "io/file_system.h"

#include <fmt/core.h>
#include <sys/vfs.h>

#include <array>
#include <cstdint>
#include <string_view>

namespace qd {

std::string file_system_name(const std::string& path) {
  struct statfs status {};
  if (statfs(path.c_str(), &status) != 0) return {};
  // linux/magic.h lacks some of the file systems that images are kept on.
  struct Known {
    std::uint32_t magic;
    std::string_view name;
  };
  constexpr std::array<Known, 26> known{{
      {0xef53, "ext2/ext3/ext4"}, {0x58465342, "xfs"},       {0x9123683e, "btrfs"},    {0x6969, "nfs"},
      {0x01021994, "tmpfs"},      {0x794c7630, "overlayfs"}, {0x2fc12fc1, "zfs"},      {0xff534d42, "cifs"},
      {0xfe534d42, "smb2"},       {0x517b, "smb"},           {0x65735546, "fuse"},     {0x00c36400, "ceph"},
      {0x01161970, "gfs2"},       {0x7461636f, "ocfs2"},     {0x4d44, "vfat"},         {0x2011bab0, "exfat"},
      {0x5346544e, "ntfs"},       {0xf2f52010, "f2fs"},      {0x73717368, "squashfs"}, {0xca451a4e, "bcachefs"},
      {0x01021997, "9p"},         {0x858458f6, "ramfs"},     {0x9660, "iso9660"},      {0x3153464a, "jfs"},
      {0x47504653, "gpfs"},       {0x0bd00bd0, "lustre"},
  }};
  const auto magic = static_cast<std::uint32_t>(status.f_type);
  for (const Known& k : known) {
    if (k.magic == magic) return std::string(k.name);
  }
  return fmt::format("unknown (0x{:x})", magic);
}

}  // namespace qd
