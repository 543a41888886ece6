// Are bytes the same throughout, or all zero? Uniform bytes equal themselves shifted by one; so memcmp can tell, which
// looks at many bytes at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace qd {

// An empty span is uniform, too.
inline bool all_same(std::span<const std::byte> bytes) {
  return bytes.empty() || std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

inline bool all_zero(std::span<const std::byte> bytes) {
  return bytes.empty() || (bytes[0] == std::byte{0} && all_same(bytes));
}
inline bool all_zero(std::span<const std::uint64_t> words) { return all_zero(std::as_bytes(words)); }

}  // namespace qd
