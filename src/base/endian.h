// Big-endian integers as they lie on disk. They have no alignment, so that structures made of them mirror the bytes
// exactly, and they convert only when asked to: a forgotten byte swap does not compile.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace qd {

template <class T>
constexpr T swap_bytes(T value) {
  static_assert(std::is_unsigned_v<T>);
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

template <class T>
constexpr T from_big_endian(T raw) {
  return std::endian::native == std::endian::big ? raw : swap_bytes(raw);
}

template <class T>
class BigEndian {
 public:
  BigEndian() = default;
  explicit BigEndian(T value) { set(value); }

  T get() const {
    T raw;
    std::memcpy(&raw, bytes_, sizeof raw);
    return from_big_endian(raw);
  }
  void set(T value) {
    T raw = from_big_endian(value);
    std::memcpy(bytes_, &raw, sizeof raw);
  }

 private:
  unsigned char bytes_[sizeof(T)] = {};
};

using be16 = BigEndian<std::uint16_t>;
using be32 = BigEndian<std::uint32_t>;
using be64 = BigEndian<std::uint64_t>;

template <class T>
T load_big_endian(const void* at) {
  T raw;
  std::memcpy(&raw, at, sizeof raw);
  return from_big_endian(raw);
}

}  // namespace qd
