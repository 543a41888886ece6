// Progress on stderr. A thread of its own samples the bytes that were read, so no other code has to report anything.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "io/file.h"

namespace qd::cli {

class Progress {
 public:
  // `setting`: "on", "off", or "auto": on a terminal, and only where it takes longer than a second.
  explicit Progress(const std::string& setting);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // A phase begins, and the one before ends. `expected`: how many bytes it may read at most, 0 if nobody knows. The
  // file must stay until the next phase, or done().
  void phase(const char* name, const File& file, std::uint64_t expected);
  // Takes the line off the terminal, before something else is printed.
  void done();

 private:
  using Clock = std::chrono::steady_clock;
  void watch();
  void show();

  const bool terminal_;
  const bool wanted_;
  const Clock::duration patience_;  // how long a phase may take before it is worth a line
  std::thread thread_;
  std::condition_variable wake_;
  std::mutex mutex_;  // guards everything below
  bool stop_ = false;
  bool shown_ = false;  // a line is on the terminal
  const char* name_ = nullptr;
  const File* file_ = nullptr;
  std::uint64_t expected_ = 0, before_ = 0;
  Clock::time_point start_{};
};

}  // namespace qd::cli
