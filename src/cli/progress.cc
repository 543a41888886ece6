#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <system_error>

namespace qd::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto interval = 200ms;

struct Scaled {
  double value;
  const char* unit;
};

Scaled scaled(double bytes) {
  constexpr std::array units{"KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (bytes /= 1024; bytes >= 1024 && unit + 1 < units.size(); ++unit) bytes /= 1024;
  return {bytes, units[unit]};
}

}  // namespace

Progress::Progress(const std::string& setting)
    : terminal_(::isatty(STDERR_FILENO) == 1),
      wanted_(setting == "on" || (setting == "auto" && terminal_)),
      patience_(setting == "on" ? 0s : 1s) {
  if (!wanted_) return;
  try {
    thread_ = std::thread(&Progress::watch, this);
  } catch (const std::system_error&) {
    // There may be no more threads. The work can be done without being watched.
  }
}

Progress::~Progress() {
  done();
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Progress::phase(const char* name, const File& file, std::uint64_t expected) {
  done();
  const std::lock_guard lock(mutex_);
  name_ = name;
  file_ = &file;
  expected_ = expected;
  before_ = file.bytes_read();
  start_ = Clock::now();
}

void Progress::done() {
  const std::lock_guard lock(mutex_);
  if (file_ && wanted_ && patience_ == 0s) show();  // who asked for it sees every phase, however short
  if (shown_ && terminal_) (void)!::write(STDERR_FILENO, "\r\x1b[K", 4);
  shown_ = false;
  file_ = nullptr;
}

void Progress::watch() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, interval, [&] { return stop_; })) {
    if (file_ && Clock::now() - start_ >= patience_) show();
  }
}

// Allocates nothing: an exception here would have nowhere to go.
void Progress::show() {
  const double seconds = std::max(std::chrono::duration<double>(Clock::now() - start_).count(), 1e-3);
  const std::uint64_t bytes = file_->bytes_read() - before_;
  const Scaled read = scaled(static_cast<double>(bytes)), rate = scaled(static_cast<double>(bytes) / seconds);

  std::array<char, 160> line;
  char* end = line.data();
  const auto add = [&]<class... Args>(fmt::format_string<Args...> pattern, Args&&... args) {
    const auto room = static_cast<std::size_t>(line.data() + line.size() - end);
    end = fmt::format_to_n(end, room, pattern, std::forward<Args>(args)...).out;
  };
  if (terminal_) add("\r");
  add("{}: {:.1f} {} read, {:.1f} {}/s", name_, read.value, read.unit, rate.value, rate.unit);
  // A fraction of what is expected has to be read before an estimate means anything.
  if (bytes < expected_ && bytes > expected_ / 50 && seconds > 1) {
    const double left = static_cast<double>(expected_ - bytes) / (static_cast<double>(bytes) / seconds);
    const auto whole = static_cast<std::uint64_t>(left);
    add(", at most {}:{:02} left", whole / 60, whole % 60);
  }
  if (terminal_) {
    add("\x1b[K");
  } else {
    add("\n");
  }
  (void)!::write(STDERR_FILENO, line.data(), static_cast<std::size_t>(end - line.data()));
  shown_ = true;
}

}  // namespace qd::cli
