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
  std::string real_format;                     // "qcow2", "raw", or that of a Foreign
  std::string_view foreign;                    // "a VMDK image", if it looks like one of another format
  std::uint64_t disk_bytes = 0;                // of its virtual disk
  bool loop = false;                           // this file is in the chain already; nothing was opened
  std::string error;                           // why it can't be opened; empty if it could, or was not tried
  bool remote = false;                         // a name with a protocol: not followed
  std::string_view elsewhere;                  // why it may not have come with the image; empty: it may
};

struct Chain {
  std::vector<Link> links;
};

// Follows the chain to its end, to the first file that can't be opened, or to a loop.
Chain open_chain(const Image& top);

// A name like "nbd://host" or "json:{…}". "./a:b" and "/a:b" are paths.
bool has_protocol(std::string_view name);

// Why a file that the image at `from` names may be anybody's, in words; empty if it lies in the image's folder or
// below. `path`: the name as it resolves. `look`: whether the file system may be asked, too (links, kinds of files).
std::string_view elsewhere(const std::string& from, std::string_view name, const std::string& path, bool look);

// Resolves a name found in the image at `from`: a relative one starts at its folder. "file:" is taken off.
std::string resolve(const std::string& from, std::string_view name);

}  // namespace qd::image
