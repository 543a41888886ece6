// Where text goes: a file descriptor with a large buffer in front. The first error sticks; later writes do nothing, so
// that callers look once, at the end.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <vector>

#include "base/result.h"

namespace qd::render {

class Output {
 public:
  explicit Output(int fd) : fd_(fd) { buffer_.reserve(capacity); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() { (void)flush(); }

  void write(std::string_view text);

  template <class... Args>
  void print(fmt::format_string<Args...> pattern, Args&&... args) {
    print_formatted(pattern, fmt::make_format_args(args...));
  }

  // EPIPE and the like; exit code 256 - errno.
  Result<void> flush();
  bool failed() const { return error_ != 0; }

 private:
  static constexpr std::size_t capacity = 1u << 18;
  void print_formatted(fmt::string_view pattern, fmt::format_args args);
  void write_all(std::string_view text);

  int fd_;
  int error_ = 0;
  std::vector<char> buffer_;
};

}  // namespace qd::render
