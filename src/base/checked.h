// Arithmetic on numbers that a file claims: whatever overflows is a finding, never a wrapped value.
#pragma once

#include <cstdint>
#include <optional>

namespace qd {

inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

constexpr std::uint64_t divide_up(std::uint64_t value, std::uint64_t by) { return value / by + (value % by != 0); }

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t to) { return divide_up(value, to) * to; }

}  // namespace qd
