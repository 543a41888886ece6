#include "render/selection.h"

#include <fmt/core.h>

#include <cerrno>

#include "image/lookup.h"

namespace qd::render {

Result<Selection> select(const image::Image& image, const std::string& output, const std::string& snapshot) {
  Selection selection;
  if (output != "refcount" && output != "snapshot" && output != "all") {
    return fail(EINVAL, fmt::format("-o knows refcount, snapshot and all, but not \"{}\"", output));
  }
  selection.refcounts = output != "snapshot";
  selection.mapping = output != "refcount";

  if (snapshot == "all") return selection;
  selection.active = snapshot == "active";
  selection.inactive = !selection.active;
  if (snapshot == "active" || snapshot == "inactive") return selection;
  const auto number = image::find_snapshot(image, snapshot);
  if (!number) return tl::make_unexpected(number.error());
  selection.only_snapshot = static_cast<int>(*number);
  return selection;
}

}  // namespace qd::render
