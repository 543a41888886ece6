// While an image is being written to, a signal must not kill: it asks for the way back.
#pragma once

#include <atomic>
#include <csignal>

namespace qd::session {

// Catches SIGINT, SIGTERM and SIGHUP as long as this lives; does nothing unless `wanted`, since the caller may look
// after signals. A process has one handler for each signal, so one guard at a time may be wanted.
class SignalGuard {
 public:
  explicit SignalGuard(bool wanted);
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

  // Did one come?
  const std::atomic<bool>& interrupted() const;

 private:
  static constexpr int signals[] = {SIGINT, SIGTERM, SIGHUP};
  const bool wanted_;
  struct sigaction before_[3];
};

}  // namespace qd::session
