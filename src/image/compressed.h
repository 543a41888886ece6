// Compressed clusters (specification: "Compressed Clusters Descriptor"; raw deflate, or zstd).
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "image/image.h"

namespace qd::image {

// Decompresses the cluster that an L2 entry describes; `into` has the size of a cluster. The stream may go on behind
// the cluster's last byte: its length is only known in sectors. Error (EIO): what was wrong, in words.
Result<void> decompress(const Image& image, std::uint64_t l2_entry, std::span<std::byte> into);

}  // namespace qd::image
