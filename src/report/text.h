// What the text renderers share: colours, rules, wrapped sentences, and how sizes and feature bits are written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/number.h"
#include "image/image.h"
#include "report/output.h"
#include "report/report.h"

namespace qd::report {

inline constexpr std::size_t text_width = 80;

enum class Color : std::uint8_t { none, green, yellow, red };
std::string paint(const Style& style, Color color, std::string_view text);

// A line across the page.
void rule(Output& out, char with);

// Breaks at spaces. The first line begins with `first`, the others with `indent` spaces; no line ends with one. A word
// that is too long for a line stays whole.
std::string wrap(std::string_view text, std::string_view first, std::size_t indent);
// With as many spaces as `first` has characters.
std::string wrap(std::string_view text, std::string_view first = {});

// "10485760 / 10.00M / 0.01G": the shape that scripts know.
std::string size_text(std::uint64_t bytes);
// "10.00M": in the largest unit that makes it one at least.
std::string short_size(std::uint64_t bytes);
// "2.50%"; "0.00%" of nothing.
std::string percent(std::uint64_t part, std::uint64_t whole);
using qd::counted;

std::string_view severity_name(check::Severity severity);

// "dirty bit, bit 7": a bit without a name is a number.
std::string feature_list(const image::Image& image, format::FeatureKind kind, std::uint64_t bits);
// "0x3 [dirty bit, corrupt bit]".
std::string features_text(const image::Image& image, format::FeatureKind kind, std::uint64_t bits);
std::string_view feature_kind_name(format::FeatureKind kind);
std::string_view crypt_method_name(std::uint32_t method);
std::string_view compression_name(std::uint8_t type);
// "16 (64.00K)": a header field's value in decimal, and what it means (header.cc).
std::string field_meaning(const image::Image& image, const format::HeaderField& field, std::uint64_t value);

// "2023-11-14 22:13:20" (UTC).
std::string date_text(std::uint32_t seconds);

// "ext4"; empty where it can't be asked.
std::string file_system_name(const std::string& path);

// The header's fields one a line, and what follows from them (text_header.cc).
void print_header_lines(Output& out, const image::Image& image);
// One line a bitmap, and what is known about the bitmaps as a whole.
void print_bitmap_lines(Output& out, const image::Image& image);
// The verdict in its box.
void print_verdict(Output& out, const image::Image& image, const check::Result& result, const Style& style);

}  // namespace qd::report
