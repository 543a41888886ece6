#include "render/text/text.h"

#include <fmt/core.h>

#include <array>

namespace qd::render {

std::string paint(const Style& style, Color color, std::string_view text) {
  if (!style.color || color == Color::none) return std::string(text);
  constexpr std::array<std::string_view, 4> start{"", "\x1b[32m", "\x1b[33m", "\x1b[31m"};
  return fmt::format("{}{}\x1b[0m", start[static_cast<std::size_t>(color)], text);
}

void rule(Output& out, char with) { out.print("{}\n", std::string(text_width - 2, with)); }

std::string wrap(std::string_view text, std::string_view first) { return wrap(text, first, first.size()); }

std::string wrap(std::string_view text, std::string_view first, std::size_t indent) {
  std::string result(first);
  std::size_t column = first.size();
  bool fresh = true;  // nothing but the indent stands on this line
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    text.remove_prefix(space == text.npos ? text.size() : space + 1);
    if (word.empty()) continue;
    if (!fresh && column + 1 + word.size() >= text_width) {
      result += '\n';
      result.append(indent, ' ');
      column = indent;
      fresh = true;
    }
    if (!fresh) result += ' ';
    column += word.size() + !fresh;
    result += word;
    fresh = false;
  }
  return result + "\n";
}

}  // namespace qd::render
