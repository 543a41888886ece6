// make_text BYTES > FILE: that many bytes that look like a log: lines of a hexadecimal number and some words, common
// ones more often. Deflate makes them two to three times smaller, as it does with what people compress. The same bytes
// come out on any machine.
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "placement.h"

namespace qd::bench {
namespace {

constexpr unsigned kWordBits = 12;
using Words = std::array<std::string, 1 << kWordBits>;

Words make_words(Random& random) {
  Words words;
  for (std::string& word : words) {
    word = ' ';
    for (uint64_t i = 0, length = 2 + random.next() % 8; i < length; ++i) {
      word += static_cast<char>('a' + random.next() % 26);
    }
  }
  return words;
}

// The n-th word comes about 1/n times as often as the first: Zipf's law, as in a language.
const std::string& pick(const Words& words, uint64_t number) {
  uint64_t bits = number % (kWordBits + 1);
  return words[number / 64 & ((1 << bits) - 1)];
}

bool write_text(uint64_t bytes) {
  Random random(1);
  const Words words = make_words(random);
  std::string text;
  while (bytes > 0) {
    text.clear();
    while (text.size() < 1 << 20) {
      char number[17];
      uint64_t bits = random.next();
      std::snprintf(number, sizeof number, "%08x", static_cast<unsigned>(bits));
      text += number;
      for (uint64_t i = 0, count = 4 + (bits >> 32) % 12; i < count; ++i) text += pick(words, random.next());
      text += '\n';
    }
    const size_t length = bytes < text.size() ? bytes : text.size();
    if (std::fwrite(text.data(), 1, length, stdout) != length) return false;
    bytes -= length;
  }
  return std::fflush(stdout) == 0;
}

}  // namespace
}  // namespace qd::bench

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: make_text BYTES > FILE\n", stderr);
    return 2;
  }
  if (!qd::bench::write_text(std::strtoull(argv[1], nullptr, 10))) {
    std::fprintf(stderr, "make_text: %s\n", std::strerror(errno));
    return 1;
  }
  return 0;
}
