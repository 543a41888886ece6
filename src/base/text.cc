#include "base/text.h"

namespace qd {

std::string beginning(std::string_view name) {
  constexpr std::size_t most = 128;
  if (name.size() <= most) return std::string(name);
  std::size_t end = most;
  while (end > most - 3 && (name[end] & 0xc0) == 0x80) --end;  // not within a character
  return std::string(name.substr(0, end)) + "...";
}

}  // namespace qd
