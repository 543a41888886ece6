// What the text renderers share: colours, rules and wrapped sentences.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "image/image.h"
#include "render/output.h"
#include "render/render.h"

namespace qd::render {

inline constexpr std::size_t text_width = 80;

enum class Color : std::uint8_t { none, green, yellow, red };
std::string paint(const Style& style, Color color, std::string_view text);

// A line across the page.
void rule(Output& out, char with);

// Breaks at spaces. The first line begins with `first`, the others with `indent` spaces; no line ends with one. A word
// that is too long for a line stays whole.
std::string wrap(std::string_view text, std::string_view first, std::size_t indent);
// The same, with an indent as wide as `first`.
std::string wrap(std::string_view text, std::string_view first = {});

// The header's fields one a line, and what follows from them (header_lines.cc).
void print_header_lines(Output& out, const image::Image& image);
// One line a bitmap, and what is known about the bitmaps as a whole.
void print_bitmap_lines(Output& out, const image::Image& image);
// The verdict in its box.
void print_verdict(Output& out, const session::Outcome& outcome, const Style& style);

}  // namespace qd::render
