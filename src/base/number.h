// Numbers as people write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace qd {

// "1234", "0x4d2", or "64k": a decimal number with a unit of 2^10, 2^20, 2^30 or 2^40. Nothing if the text is no number
// or one of more than 64 bits.
std::optional<std::uint64_t> parse_number(std::string_view text);

// "1 cluster", "2 clusters".
std::string counted(std::uint64_t count, std::string_view one, std::string_view many);

}  // namespace qd
