// What a file is that is no qcow2 image: told by its first bytes, or its last.
#pragma once

#include <optional>
#include <string_view>

#include "io/file.h"

namespace qd::image {

struct Foreign {
  std::string_view format;  // for programs: "vmdk", "gzip", "raw", …
  std::string_view what;    // in words: "a VMDK image"
  bool image = false;       // another image format: qemu-img converts it
};

// What the file's first bytes, or its last, look like; nothing where nothing is recognised.
std::optional<Foreign> looks_like(const File& file);

// The same, and nothing where a qcow2 image lies behind what has overwritten its beginning.
std::optional<Foreign> foreign(const File& file);

}  // namespace qd::image
