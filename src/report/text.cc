#include "report/text.h"

#include <sys/vfs.h>

#include <array>
#include <bit>
#include <ctime>

#include "report/escape.h"

namespace qd::report {

std::string paint(const Style& style, Color color, std::string_view text) {
  if (!style.color || color == Color::none) return std::string(text);
  constexpr std::array<std::string_view, 4> start{"", "\x1b[32m", "\x1b[33m", "\x1b[31m"};
  return fmt::format("{}{}\x1b[0m", start[static_cast<std::size_t>(color)], text);
}

void rule(Output& out, char with) { out.write(std::string(text_width - 2, with) + "\n"); }

std::string wrap(std::string_view text, std::string_view first) { return wrap(text, first, first.size()); }

std::string wrap(std::string_view text, std::string_view first, std::size_t indent) {
  std::string result(first);
  std::size_t column = first.size();
  bool fresh = true;  // nothing but the indent stands on this line
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    text.remove_prefix(space == text.npos ? text.size() : space + 1);
    if (word.empty()) continue;
    if (!fresh && column + 1 + word.size() >= text_width) {
      result += '\n';
      result.append(indent, ' ');
      column = indent;
      fresh = true;
    }
    if (!fresh) result += ' ';
    column += word.size() + !fresh;
    result += word;
    fresh = false;
  }
  return result + "\n";
}

std::string size_text(std::uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  return fmt::format("{} / {:.2f}M / {:.2f}G", bytes, value / (1 << 20), value / (1 << 30));
}

std::string short_size(std::uint64_t bytes) {
  constexpr std::string_view units = "BKMGTPE";
  const unsigned unit = bytes == 0 ? 0 : (static_cast<unsigned>(std::bit_width(bytes)) - 1) / 10;
  if (unit == 0) return fmt::format("{}B", bytes);
  return fmt::format("{:.2f}{}", static_cast<double>(bytes) / static_cast<double>(1ULL << (unit * 10)), units[unit]);
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
  return fmt::format("{:.2f}%", whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string_view severity_name(check::Severity severity) {
  constexpr std::array<std::string_view, 3> names{"warning", "leak", "error"};
  return names[static_cast<std::size_t>(severity)];
}

std::string feature_list(const image::Image& image, format::FeatureKind kind, std::uint64_t bits) {
  constexpr unsigned most = 4;  // bits without a name; a ruined header has dozens
  std::string names;
  unsigned unnamed = 0;
  for (; bits != 0; bits &= bits - 1) {
    const auto bit = static_cast<unsigned>(std::countr_zero(bits));
    const std::string name = image.feature_name(kind, bit);
    if (name.empty() && ++unnamed > most) continue;
    names += (names.empty() ? "" : ", ") + (name.empty() ? fmt::format("bit {}", bit) : escape(name));
  }
  if (unnamed > most) names += fmt::format(" and {} more", unnamed - most);
  return names;
}

std::string features_text(const image::Image& image, format::FeatureKind kind, std::uint64_t bits) {
  const std::string names = feature_list(image, kind, bits);
  return fmt::format("0x{:x}{}", bits, names.empty() ? "" : " [" + names + "]");
}

std::string_view feature_kind_name(format::FeatureKind kind) {
  constexpr std::array<std::string_view, 3> names{"incompatible", "compatible", "autoclear"};
  return names[static_cast<std::size_t>(kind)];
}

std::string_view crypt_method_name(std::uint32_t method) {
  constexpr std::array<std::string_view, 3> names{"none", "AES (legacy)", "LUKS"};
  return method < names.size() ? names[method] : "unknown";
}

std::string_view compression_name(std::uint8_t type) {
  constexpr std::array<std::string_view, 2> names{"zlib", "zstd"};
  return type < names.size() ? names[type] : "unknown";
}

std::string date_text(std::uint32_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string file_system_name(const std::string& path) {
  struct statfs status {};
  if (statfs(path.c_str(), &status) != 0) return {};
  // linux/magic.h names fewer than images are kept on.
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

}  // namespace qd::report
