#include "words/sizes.h"

#include <fmt/core.h>

#include <bit>
#include <ctime>
#include <string_view>

namespace qd {

std::string size_text(std::uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  return fmt::format("{} / {:.2f}M / {:.2f}G", bytes, value / (1 << 20), value / (1 << 30));
}

std::string short_size(std::uint64_t bytes) {
  constexpr std::string_view units = "BKMGTPE";
  const unsigned unit = bytes == 0 ? 0 : (static_cast<unsigned>(std::bit_width(bytes)) - 1) / 10;
  if (unit == 0) return fmt::format("{}B", bytes);
  return fmt::format("{:.2f}{}", static_cast<double>(bytes) / static_cast<double>(1ULL << (unit * 10)), units[unit]);
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
  return fmt::format("{:.2f}%", whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string date_text(std::uint32_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

}  // namespace qd
