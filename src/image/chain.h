// The backing chain: the files that unallocated clusters read from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/image.h"

namespace qd::image {

struct Link {
  std::string name;                            // as the image above names it
  std::string path;                            // as it resolves
  std::optional<std::string> recorded_format;  // what the image above says it is
  std::string real_format;                     // "qcow2", "raw", or as a Foreign's
  std::string_view foreign;                    // "a VMDK image", where it looks like neither
  std::uint64_t disk_bytes = 0;                // of its virtual disk
  bool loop = false;                           // this file is in the chain already; nothing was opened
  std::string error;                           // why it can't be opened; empty if it could, or was not tried
  bool remote = false;                         // a name with a protocol: not followed
  std::string_view elsewhere;                  // why it is none of the files that came with the image
};

struct Chain {
  std::vector<Link> links;
};

// Follows the chain to its end, to the first file that can't be opened, or to a loop.
Chain open_chain(const Image& top);

// A name like "nbd://host" or "json:{…}". "./a:b" and "/a:b" are paths.
bool has_protocol(std::string_view name);

// Why a file that the image at `from` names may be anybody's: the words that say so, or nothing if it lies in the
// image's folder or below. `path`: the name as it resolves; `look`: whether links may be followed, too.
std::string_view elsewhere(const std::string& from, std::string_view name, const std::string& path, bool look);

// A name found in the image at `from`: relative names start at its folder. "file:" is taken off.
std::string resolve(const std::string& from, std::string_view name);

}  // namespace qd::image
