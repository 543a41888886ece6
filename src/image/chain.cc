#include "image/chain.h"

#include <sys/stat.h>

#include <filesystem>
#include <set>

namespace qd::image {
namespace {

using FileId = std::pair<dev_t, ino_t>;

std::optional<FileId> identify(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return std::nullopt;
  return FileId(status.st_dev, status.st_ino);
}

// Does the header make sense, as far as every program needs it?
bool can_be_opened(const Image& image) {
  const format::Header& h = image.header;
  const bool length = h.version == 2 || (h.header_length >= format::header_bytes_v3 && image.geometry &&
                                         h.header_length <= image.geometry->cluster_size());
  return image.geometry && !image.header_cut_off() && (h.version == 2 || h.version == 3) && length &&
         (h.incompatible_features & ~format::incompatible::known) == 0;
}

}  // namespace

bool has_protocol(std::string_view name) {
  const auto colon = name.find(':');
  return colon != name.npos && colon > 0 && name.find('/') > colon;
}

std::string resolve(const std::string& from, std::string_view name) {
  if (name.starts_with("file:")) name.remove_prefix(name.starts_with("file://") ? 7 : 5);
  if (has_protocol(name) || name.starts_with('/')) return std::string(name);
  return (std::filesystem::path(from).parent_path() / name).string();
}

std::string_view elsewhere(const std::string& from, std::string_view name, const std::string& path, bool look) {
  namespace fs = std::filesystem;
  if (has_protocol(path)) return "a name with a protocol, which is not followed";
  if (resolve("", name).starts_with('/')) return "an absolute name";
  struct stat status {};
  if (look && ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) return "not a regular file";
  std::error_code unknown;
  const auto place = [&](const fs::path& of) {
    const fs::path whole = fs::absolute(of, unknown);
    return look ? fs::weakly_canonical(whole, unknown) : whole.lexically_normal();
  };
  const fs::path way = place(path).lexically_relative(place(fs::absolute(from, unknown).parent_path()));
  return way.empty() || *way.begin() == ".." ? "outside the image's folder" : "";
}

Chain open_chain(const Image& top) {
  Chain chain;
  std::set<FileId> seen;
  if (const auto id = identify(top.file().path())) seen.insert(*id);

  std::string from = top.file().path();
  std::optional<std::string> next = top.backing_file, format = top.backing_format;
  while (next) {
    Link& link = chain.links.emplace_back();
    link.name = *next;
    link.path = resolve(from, *next);
    link.recorded_format = format;
    link.elsewhere = elsewhere(from, *next, link.path, true);
    link.remote = has_protocol(link.path);
    if (link.remote) break;

    const auto id = identify(link.path);
    link.loop = id && !seen.insert(*id).second;
    if (link.loop) break;
    auto file = open_file(link.path);
    if (!file) {
      link.error = file.error().message;
      break;
    }
    const std::uint64_t bytes = (*file)->size();
    auto image = Image::open(std::move(*file), {});
    if (!image) {
      link.error = image.error().message;
      break;
    }
    if (image->foreign && image->foreign->image) link.foreign = image->foreign->what;
    const bool qcow2 = image->header.magic == format::magic && format != "raw";
    if (qcow2 && !can_be_opened(*image)) {
      link.error = "its header is damaged";
      break;
    }
    const bool known = image->foreign && (image->foreign->image || image->foreign->format == "luks");
    link.real_format = qcow2 ? "qcow2" : known && format != "raw" ? image->foreign->format : "raw";
    link.disk_bytes = qcow2 ? image->header.size : bytes;
    // A file that is recorded as raw is read as raw, whatever its content looks like.
    if (!qcow2 || format == "raw") break;
    from = link.path;
    next = image->backing_file;
    format = image->backing_format;
  }
  return chain;
}

}  // namespace qd::image
