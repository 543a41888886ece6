#include "render/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>

namespace qd::render {

void Output::print_formatted(fmt::string_view pattern, fmt::format_args args) {
  fmt::vformat_to(std::back_inserter(buffer_), pattern, args);
  if (buffer_.size() >= capacity) (void)flush();
}

void Output::write_all(std::string_view text) {
  while (error_ == 0 && !text.empty()) {
    const ssize_t written = ::write(fd_, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
}

void Output::write(std::string_view text) {
  if (buffer_.size() + text.size() > capacity) (void)flush();
  if (text.size() > capacity) return write_all(text);
  buffer_.insert(buffer_.end(), text.begin(), text.end());
}

Result<void> Output::flush() {
  write_all({buffer_.data(), buffer_.size()});
  buffer_.clear();
  if (error_ == 0) return {};
  return fail(error_, fmt::format("cannot write the output: {}", std::strerror(error_)));
}

}  // namespace qd::render
