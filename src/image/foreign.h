// What a file is if it is no qcow2 image. Its first bytes tell, or its last.
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

// The same, and qcow version 1; but nothing if only the beginning of a qcow2 image was overwritten by something else.
std::optional<Foreign> foreign(const File& file);

}  // namespace qd::image
