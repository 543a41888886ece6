#include "base/number.h"

#include <fmt/core.h>

#include <charconv>

namespace qd {

std::optional<std::uint64_t> parse_number(std::string_view text) {
  constexpr std::string_view units = "kmgtKMGT";
  unsigned shift = 0;
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  if (hex) text.remove_prefix(2);
  if (!text.empty() && !hex) {
    if (const auto unit = units.find(text.back()); unit != units.npos) {
      shift = static_cast<unsigned>(unit % 4 + 1) * 10;
      text.remove_suffix(1);
    }
  }
  std::uint64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number, hex ? 16 : 10);
  if (error != std::errc() || stop != text.data() + text.size() || number > ~std::uint64_t{0} >> shift) {
    return std::nullopt;
  }
  return number << shift;
}

std::string counted(std::uint64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

}  // namespace qd
