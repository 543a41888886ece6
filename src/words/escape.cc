#include "words/escape.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>

namespace qd {
namespace {

struct Character {
  std::size_t bytes = 1;
  char32_t code = 0;
  bool valid = false;  // false: one byte that belongs to no character
};

// The character at the start of `text`, which is not empty. Overlong forms, surrogates and what lies beyond U+10FFFF
// are no characters.
Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {1, byte(0), true};
  const std::size_t bytes = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < bytes) return {};
  char32_t code = byte(0) & (0x7fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr std::array<char32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
  if (code < least[bytes] || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) return {};
  return {bytes, code, true};
}

// Characters that show nothing, or make a terminal show something other than what is written.
bool treacherous(char32_t code) {
  struct Range {
    char32_t first, last;
  };
  constexpr std::array<Range, 13> ranges{{{0x00, 0x1f},
                                          {0x7f, 0x9f},
                                          {0xad, 0xad},
                                          {0x61c, 0x61c},
                                          {0x180e, 0x180e},
                                          {0x200b, 0x200f},
                                          {0x2028, 0x202e},
                                          {0x2060, 0x206f},
                                          {0xfe00, 0xfe0f},
                                          {0xfeff, 0xfeff},
                                          {0xfff9, 0xfffb},
                                          {0xe0000, 0xe007f},
                                          {0xe0100, 0xe01ef}}};
  return std::ranges::any_of(ranges, [&](Range r) { return r.first <= code && code <= r.last; });
}

// Calls each(bytes of a character, the character) from the beginning to the end.
template <class Each>
void for_characters(std::string_view text, Each&& each) {
  while (!text.empty()) {
    const Character c = first_character(text);
    each(text.substr(0, c.bytes), c);
    text.remove_prefix(c.bytes);
  }
}

void append_hex(std::string& to, std::string_view bytes) {
  for (const char byte : bytes) {
    fmt::format_to(std::back_inserter(to), "\\x{:02x}", static_cast<unsigned char>(byte));
  }
}

}  // namespace

std::string escape(std::string_view text, std::size_t most) {
  std::string result;
  bool cut = false;
  for_characters(text.substr(0, most), [&](std::string_view bytes, const Character& c) {
    const bool plain = c.valid && !treacherous(c.code);
    cut |= result.size() + bytes.size() * (plain ? 1 : 4) > most;
    if (cut) return;
    if (plain) {
      result += bytes;
    } else {
      append_hex(result, bytes);
    }
  });
  return cut || text.size() > most ? result + "..." : result;
}

std::string json_string(std::string_view text) {
  std::string result = "\"";
  result.reserve(text.size() + 2);
  const auto append_unit = [&](char32_t unit) {
    fmt::format_to(std::back_inserter(result), "\\u{:04x}", static_cast<std::uint32_t>(unit));
  };
  for_characters(text, [&](std::string_view bytes, const Character& c) {
    if (!c.valid) {
      result += "\xef\xbf\xbd";
    } else if (c.code == '\n') {
      result += "\\n";
    } else if (c.code == '"' || c.code == '\\') {
      result += '\\';
      result += bytes;
    } else if (!treacherous(c.code)) {
      result += bytes;
    } else if (c.code < 0x10000) {
      append_unit(c.code);
    } else {  // two units of UTF-16
      append_unit(0xd800 + ((c.code - 0x10000) >> 10));
      append_unit(0xdc00 + ((c.code - 0x10000) & 0x3ff));
    }
  });
  return result + '"';
}

std::string shell_quote(std::string_view path) {
  return shell_word((path.starts_with('-') ? "./" : "") + std::string(path));
}

std::string shell_word(std::string_view word) {
  constexpr std::string_view harmless = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";
  if (!word.empty() && word.find_first_not_of(harmless) == word.npos) return std::string(word);

  bool shown = true;
  for_characters(word, [&](std::string_view, const Character& c) { shown &= c.valid && !treacherous(c.code); });
  std::string quoted = shown ? "'" : "$'";
  for_characters(word, [&](std::string_view bytes, const Character& c) {
    if (!c.valid || treacherous(c.code)) {
      append_hex(quoted, bytes);
    } else if (bytes == "'") {
      quoted += shown ? "'\\''" : "\\'";
    } else if (bytes == "\\" && !shown) {
      quoted += "\\\\";
    } else {
      quoted += bytes;
    }
  });
  return quoted + "'";
}

std::string command_line(std::span<const std::string> words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + shell_word(word);
  return line;
}

}  // namespace qd
