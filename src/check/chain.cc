// The files an image needs. Names are relative to the folder of the image that holds them, as QEMU resolves them; names
// with a protocol ("nbd://…", "json:…") are not followed.
#include "image/chain.h"

#include <fmt/core.h>

#include <algorithm>

#include "check/passes.h"

namespace qd::check {

void check_backing_chain(Context& c) {
  if (!c.options.backing_chain || !c.image.backing_file) return;
  const image::Chain chain = image::open_chain(c.image);
  const auto report = [&](Code code, std::string detail, std::uint64_t found = 0, std::uint64_t expected = 0) {
    Finding f;
    f.code = code;
    f.detail = std::move(detail);
    f.found = found;
    f.expected = expected;
    c.report(f);
  };
  std::uint64_t size = c.image.header.size;
  for (const image::Link& link : chain.links) {
    const std::string name = fmt::format("\"{}\"", link.name);
    if (link.loop) return report(Code::backing_loop, name);
    if (link.remote) return;
    if (!link.error.empty()) return report(Code::backing_missing, fmt::format("{}: {}", name, link.error));
    if (!link.recorded_format) {
      report(Code::backing_format, fmt::format("{} has no recorded format; it looks like {}", name, link.real_format));
    } else if (*link.recorded_format == "qcow2" && link.real_format != "qcow2") {
      report(Code::backing_format, fmt::format("{} is recorded as qcow2, but looks like {}", name, link.real_format));
    }
    if (link.disk_bytes > size) report(Code::backing_size, name, link.disk_bytes, size);
    size = link.disk_bytes;
  }
}

void open_data_file(Context& c) {
  if (!c.geometry().data_file) return;
  // As many clusters as the largest L1 table can map; a ruined size field may claim any number.
  const std::uint64_t mappable = format::max_l1_bytes / 8 * c.geometry().l2_entries();
  c.data_claims = std::make_unique<Claims>(std::min(c.geometry().clusters(c.image.header.size), mappable), nullptr,
                                           c.image.file().allocated_bytes());
  if (!c.image.data_file) return;
  const std::string path = image::resolve(c.image.file().path(), *c.image.data_file);
  if (image::has_protocol(path)) return;
  // QEMU looks from the working folder; beside the image is where people look.
  auto file = open_file(*c.image.data_file);
  if (!file) file = open_file(path);
  if (file) {
    c.data_file_size = (*file)->size();
    return;
  }
  Finding f;
  f.code = Code::data_file_missing;
  f.detail = fmt::format("\"{}\": {}", *c.image.data_file, file.error().message);
  c.report(f);
}

}  // namespace qd::check
