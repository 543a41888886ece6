// Amounts as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace qd {

// "10485760 / 10.00M / 0.01G": the shape that scripts know.
std::string size_text(std::uint64_t bytes);
// "10.00M": in the largest unit that gives at least 1.
std::string short_size(std::uint64_t bytes);
// "2.50%"; "0.00%" of nothing.
std::string percent(std::uint64_t part, std::uint64_t whole);
// "2023-11-14 22:13:20" (UTC), of seconds since 1970.
std::string date_text(std::uint32_t seconds);

}  // namespace qd
