// -m rebase: another name for the backing file; no data moves. The first cluster is laid out anew:
//
//   header | new backing format | every other extension as it was | end of the extensions | the name
//
// and zeros up to where the old name or the old extensions ended. All this must fit into the cluster. The backing
// format is what the new file is found to be; with -b nobody looks, and the recorded one stays.
// Specification: "Header extensions", backing_file_offset.
#include <algorithm>

#include "base/checked.h"
#include "base/endian.h"
#include "edit/commands.h"
#include "image/chain.h"
#include "io/posix_calls.h"

namespace qd::edit {
namespace {

using check::Code;
using repair::Work;
namespace extension = format::extension;

using Bytes = std::vector<std::byte>;

void append(Bytes& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
  to.resize(round_up(to.size(), 8));
}

void append_extension(Bytes& to, std::uint32_t type, std::span<const std::byte> data) {
  const be32 head[2]{be32(type), be32(static_cast<std::uint32_t>(data.size()))};
  append(to, std::as_bytes(std::span(head)));
  append(to, data);
}

class Rebasing {
 public:
  Rebasing(Work& w, const Rebase& wanted)
      : w_(w), wanted_(wanted), old_name_(w.view.image().backing_file), old_format_(w.view.image().backing_format) {}

  Result<void> run();

 private:
  bool hidden_extension() const;
  Result<void> require_possible() const;
  Result<void> require_name() const;
  Result<std::string> look_at_chain();
  Result<void> require_size(const image::Link& base) const;
  Result<void> write(const std::optional<std::string>& format);

  Work& w_;
  const Rebase& wanted_;
  const std::optional<std::string> old_name_, old_format_;
  std::optional<image::Link> old_base_;  // nothing if it can't be opened
  bool shorter_ = false;                 // the new backing file's disk is shorter than the image's
};

// Extensions are read up to the backing file's name. A name that lies too early hides those behind it.
bool Rebasing::hidden_extension() const {
  const image::Image& image = w_.view.image();
  if (image.header.backing_file_offset == 0) return false;
  std::vector<std::byte> first(w_.view.geometry().cluster_size());
  if (!image.file().read(0, first)) return true;
  const auto all = format::parse_extensions(first, image.header.header_length, first.size());
  return std::ranges::any_of(all.list, [&](const format::Extension& e) {
    return format::extension_name(e.type) != "unknown" && !image.find_extension(e.type);
  });
}

Result<void> Rebasing::require_possible() const {
  const format::Header& h = w_.view.image().header;
  if (!w_.view.image().geometry || w_.view.image().header_cut_off() || h.magic != format::magic ||
      w_.view.count(Code::header_version) + w_.view.count(Code::header_length) > 0 ||
      w_.view.image().extensions.truncated) {
    return refused("the header or its extensions can't be read to their end: what stands there would be lost");
  }
  if (w_.view.image().against_header()) return refused(repair::against_header(w_.view.image()));
  if (hidden_extension()) {
    return refused(
        "the backing file's name lies before header extensions, and hides them: they would be overwritten. "
        "-m edit of header.backing_file_offset (0: no backing file) shows them again");
  }
  if (!wanted_.name.empty() && (h.autoclear_features & format::autoclear::raw_data_file) != 0) {
    return refused("an image whose external data file is raw can't have a backing file");
  }
  return {};
}

Result<void> Rebasing::require_name() const {
  if (wanted_.name.size() > format::max_backing_name_bytes) {
    return fail(EINVAL, fmt::format("a backing file's name has {} bytes at most, this one {}; nothing was changed",
                                    format::max_backing_name_bytes, wanted_.name.size()));
  }
  const std::string path = image::resolve(w_.view.image().file().path(), wanted_.name);
  if (wanted_.unchecked || !image::has_protocol(path)) return {};
  return refused(fmt::format("{} can't be looked at. -b writes the name unchecked", wanted_.name));
}

// A base of another size is probably another disk: the guest would see more or less of it than of the old one.
Result<void> Rebasing::require_size(const image::Link& base) const {
  const std::uint64_t disk = w_.view.image().header.size;
  if (w_.wanted.force) return {};
  if (old_base_ && old_base_->disk_bytes != base.disk_bytes) {
    return refused(
        fmt::format("{} has a disk of {} bytes, the present backing file one of {}: it is another disk. --force "
                    "writes its name all the same",
                    wanted_.name, base.disk_bytes, old_base_->disk_bytes));
  }
  if (base.disk_bytes > disk) {
    return refused(
        fmt::format("{} has a disk of {} bytes, more than this image's {}: the rest would be cut off. "
                    "--force writes its name all the same",
                    wanted_.name, base.disk_bytes, disk));
  }
  return {};
}

// Looks at the chain as it will be: the new name is planned already. Returns the format of the chain's first link.
Result<std::string> Rebasing::look_at_chain() {
  const image::Chain chain = image::open_chain(w_.view.image());
  for (const image::Link& link : chain.links) {
    const std::string name = link.path;
    if (link.loop) return refused(fmt::format("{} leads back to a file that stands before it: a loop", name));
    if (!link.error.empty()) {
      return refused(fmt::format("the chain ends at {}: {}. -b writes the name unchecked", name, link.error));
    }
  }
  const image::Link& base = chain.links.front();
  if (!base.foreign.empty()) {
    return refused(fmt::format("{} looks like {}, whose content can't be looked at. -b writes the name unchecked",
                               base.path, base.foreign));
  }
  if (auto size = require_size(base); !size) return tl::unexpected(size.error());
  shorter_ = base.disk_bytes < w_.view.image().header.size;
  // A guest can write a qcow2 header to its raw disk. That must not make the disk a qcow2 image when it moves.
  if (old_base_ && old_format_ && same_file(old_base_->path, base.path)) return *old_format_;
  if (old_format_ == "raw" && base.real_format != "raw" && !w_.wanted.force) {
    return refused(fmt::format(
        "{} looks like qcow2, but the present backing file is recorded as raw: if this is the same disk, its "
        "guest may have written that. -b keeps raw; --force records qcow2",
        base.path));
  }
  return base.real_format;
}

Result<void> Rebasing::write(const std::optional<std::string>& format) {
  const image::Image& image = w_.view.image();
  const std::uint64_t cluster = w_.view.geometry().cluster_size();
  const auto is_format = [](const format::Extension& e) { return e.type == extension::backing_format; };
  Bytes head = w_.view.read(HostOffset(0), image.header.header_length);
  head.resize(round_up(head.size(), 8));
  if (format) append_extension(head, extension::backing_format, std::as_bytes(std::span(*format)));
  for (const format::Extension& e : image.extensions.list) {
    if (!is_format(e)) append_extension(head, e.type, e.data);
  }
  append_extension(head, extension::end, {});

  const std::uint64_t offset = wanted_.name.empty() ? 0 : head.size();
  const auto name = std::as_bytes(std::span(wanted_.name));
  head.insert(head.end(), name.begin(), name.end());
  if (head.size() > cluster) {
    return refused(
        fmt::format("header, extensions and name need {} bytes, but the first cluster has {}", head.size(), cluster));
  }
  std::uint64_t old_end = image.extensions.end + 8;
  if (old_name_) old_end = std::max(old_end, image.header.backing_file_offset + old_name_->size());
  head.resize(std::max<std::uint64_t>(head.size(), std::min(old_end, cluster)));
  w_.editor.write(Stage::point, HostOffset(0), head);
  set_field(w_, format::field::backing_file_offset, offset);
  set_field(w_, format::field::backing_file_size, wanted_.name.size());
  return {};
}

Result<void> Rebasing::run() {
  if (auto possible = require_possible(); !possible) return possible;
  if (auto name = require_name(); !name) return name;
  if (old_name_ && !wanted_.unchecked) {
    const image::Chain chain = image::open_chain(w_.view.image());
    const image::Link& base = chain.links.front();
    if (base.error.empty() && !base.remote && !base.loop) old_base_ = base;
  }
  std::optional<std::string> format = wanted_.name.empty() ? std::nullopt : old_format_;
  if (wanted_.name == old_name_.value_or("") && wanted_.unchecked) return {};
  const bool looks = !wanted_.name.empty() && !wanted_.unchecked;
  // No format is recorded before the look: the file itself shall tell what it is.
  if (auto done = write(looks ? std::nullopt : format); !done || w_.view.failed()) return done;
  if (looks) {
    if (!w_.look()) return {};
    auto found = look_at_chain();
    if (!found) return tl::unexpected(found.error());
    format = std::move(*found);
    if (auto done = write(format); !done) return done;
  }
  if (w_.editor.transaction().empty()) return {};
  const auto quoted = [](const std::optional<std::string>& text) {
    return text ? fmt::format("\"{}\"", *text) : std::string("none");
  };
  const std::optional<std::string> name = wanted_.name.empty() ? std::nullopt : std::optional(wanted_.name);
  act(w_, HostOffset(0), w_.view.geometry().cluster_size(),
      fmt::format("backing file {} (format {}) instead of {} (format {}){}", quoted(name), quoted(format),
                  quoted(old_name_), quoted(old_format_),
                  !name      ? ": what isn't allocated in this image reads as zeros"
                  : shorter_ ? ": its disk is the shorter one, what isn't allocated behind its end reads as zeros"
                             : ""));
  return {};
}

}  // namespace

Result<void> perform(Work& w, const Rebase& rebase) { return Rebasing(w, rebase).run(); }

}  // namespace qd::edit
