// The files an image needs. Names are relative to the folder of the image that holds them, as QEMU resolves them; names
// with a protocol ("nbd://…", "json:…") are not followed. With -b no file but the image is opened: only the names are
// judged.
#include "image/chain.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "check/passes.h"

namespace qd::check {
namespace {

// Why QEMU doesn't open the file as what it is recorded to be; empty if it does.
std::string wrong_format(const image::Link& link) {
  constexpr std::size_t longest = 15;  // a longer one is reported with its header extension
  if (!link.recorded_format || *link.recorded_format == "raw" || link.recorded_format->size() > longest) return {};
  const std::string& format = *link.recorded_format;
  constexpr std::array<std::string_view, 14> known{"qcow2", "qcow",  "qed",       "vmdk",       "vdi",
                                                   "vpc",   "vhdx",  "parallels", "dmg",        "luks",
                                                   "bochs", "cloop", "file",      "host_device"};
  if (std::ranges::find(known, format) == known.end()) {
    return fmt::format("is recorded as \"{}\", a format that QEMU doesn't know", format);
  }
  const bool any_content = format == "file" || format == "host_device";
  const bool unknown_sign = (format == "bochs" || format == "cloop") && link.real_format == "raw";
  if (!any_content && !unknown_sign && link.real_format != (format == "vpc" ? "vhd" : format)) {
    return fmt::format("is recorded as {}, but looks like {}", format, link.real_format);
  }
  return {};
}

}  // namespace

void check_backing_chain(Context& c) {
  if (!c.image.backing_file) return;
  const auto report = [&](Code code, std::string detail, std::uint64_t found = 0, std::uint64_t expected = 0) {
    Finding f;
    f.code = code;
    f.detail = std::move(detail);
    f.found = found;
    f.expected = expected;
    c.report(f);
  };
  const auto report_place = [&](const std::string& name, std::string_view why) {
    if (!why.empty()) report(Code::backing_elsewhere, fmt::format("\"{}\": {}", name, why));
  };
  if (!c.options.backing_chain) {
    const std::string &from = c.image.file().path(), &name = *c.image.backing_file;
    return report_place(name, image::elsewhere(from, name, image::resolve(from, name), false));
  }
  c.result.chain = image::open_chain(c.image);
  std::uint64_t size = c.image.header.size;
  for (const image::Link& link : c.result.chain->links) {
    const std::string name = fmt::format("\"{}\"", link.name);
    report_place(link.name, link.elsewhere);
    if (link.loop) return report(Code::backing_loop, name);
    if (link.remote) return;
    if (!link.error.empty()) return report(Code::backing_missing, fmt::format("{}: {}", name, link.error));
    if (!link.recorded_format) {
      report(Code::backing_format, fmt::format("{} has no recorded format; it looks like {}", name, link.real_format));
    } else if (const std::string wrong = wrong_format(link); !wrong.empty()) {
      return report(Code::backing_missing, fmt::format("{} {}", name, wrong));
    }
    if (link.disk_bytes > size) report(Code::backing_size, name, link.disk_bytes, size);
    size = link.disk_bytes;
  }
}

void open_data_file(Context& c) {
  if (!c.geometry().data_file) return;
  // As many clusters as the largest L1 table can map; a ruined size field may claim any number.
  const std::uint64_t mappable = format::max_l1_entries * c.geometry().l2_entries();
  c.data_claims = std::make_unique<Claims>(std::min(c.geometry().clusters(c.image.header.size), mappable), nullptr,
                                           c.image.file().allocated_bytes());
  if (!c.image.data_file) return;
  const std::string &from = c.image.file().path(), &name = *c.image.data_file;
  std::string path = image::resolve(from, name);
  const auto report = [&](Code code, std::string_view why) {
    Finding f;
    f.code = code;
    f.detail = fmt::format("\"{}\": {}", name, why);
    c.report(f);
  };
  if (c.options.backing_chain && !image::has_protocol(path)) {
    // QEMU looks from the working folder; beside the image is where people look.
    auto file = open_file(name);
    if (file) {
      path = name;
    } else {
      file = open_file(path);
    }
    if (file) {
      c.data_file_size = (*file)->size();
    } else {
      report(Code::data_file_missing, file.error().message);
    }
  }
  if (const auto why = image::elsewhere(from, name, path, c.options.backing_chain); !why.empty()) {
    report(Code::data_file_elsewhere, why);
  }
}

}  // namespace qd::check
