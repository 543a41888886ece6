// Text and numbers written straight into memory, for lines by the ten million. Every function returns the place behind
// what it wrote, and may scribble up to 16 bytes beyond it: whole words are stored where a few bytes count.
#pragma once

#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/endian.h"

namespace qd::render {

template <std::size_t n>
inline char* put(char* at, const char (&text)[n]) {
  std::memcpy(at, text, n - 1);
  return at + n - 1;
}

inline char* put(char* at, std::string_view text) {
  std::memcpy(at, text.data(), text.size());
  return at + text.size();
}

// The 8 hex digits of a number, the first of them in the lowest byte.
constexpr std::uint64_t hex_digits(std::uint32_t value) {
  std::uint64_t x = swap_bytes(value);
  x = (x | x << 16) & 0x0000ffff0000ffff;
  x = (x | x << 8) & 0x00ff00ff00ff00ff;
  x = (x >> 4 & 0x000f000f000f000f) | (x & 0x000f000f000f000f) << 8;
  const std::uint64_t letters = (x + 0x0606060606060606) >> 4 & 0x0101010101010101;
  return x + 0x3030303030303030 + letters * ('a' - '0' - 10);
}

inline void store_first_byte_low(char* at, std::uint64_t digits) {
  if constexpr (std::endian::native == std::endian::big) digits = swap_bytes(digits);
  std::memcpy(at, &digits, sizeof digits);
}

// As %x.
inline char* put_hex(char* at, std::uint64_t value) {
  const std::uint64_t low = hex_digits(static_cast<std::uint32_t>(value));
  const int zeros = std::countl_zero(value | 1) / 4;
  if (zeros >= 8) {
    store_first_byte_low(at, low >> (8 * (zeros - 8)));
    return at + 16 - zeros;
  }
  const std::uint64_t high = hex_digits(static_cast<std::uint32_t>(value >> 32));
  store_first_byte_low(at, high >> (8 * zeros));
  store_first_byte_low(at + 8 - zeros, low);
  return at + 16 - zeros;
}

// As %u.
inline char* put_decimal(char* at, std::uint64_t value) { return std::to_chars(at, at + 20, value).ptr; }

// As %4u, %5u: `width` is at most 8.
inline char* put_padded(char* at, std::uint64_t value, unsigned width) {
  std::memset(at, ' ', 8);
  std::uint64_t limit = 10;
  for (unsigned digits = 1; digits < width; ++digits, limit *= 10) at += value < limit;
  return put_decimal(at, value);
}

}  // namespace qd::render
