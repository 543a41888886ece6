// Places have types: an offset in the image file, an offset on the guest's disk and the number of a cluster are all
// 64-bit integers, and mixing them up is the classical error of this trade.
#pragma once

#include <compare>
#include <cstdint>

namespace qd {

template <class Tag>
struct Place {
  std::uint64_t value = 0;

  constexpr Place() = default;
  constexpr explicit Place(std::uint64_t v) : value(v) {}
  constexpr auto operator<=>(const Place&) const = default;
  constexpr Place operator+(std::uint64_t distance) const { return Place(value + distance); }
  constexpr std::uint64_t operator-(Place other) const { return value - other.value; }
};

using HostOffset = Place<struct HostTag>;        // bytes from the start of the image file
using GuestOffset = Place<struct GuestTag>;      // bytes from the start of the guest's disk
using ClusterIndex = Place<struct ClusterTag>;   // host offset / cluster size

}  // namespace qd
