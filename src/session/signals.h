// While an image is being written to, a signal must not kill: it asks for the way back.
#pragma once

#include <atomic>
#include <csignal>

namespace qd::session {

// Catches SIGINT, SIGTERM and SIGHUP as long as this lives, but none that the process was told to ignore (nohup); does
// nothing unless `wanted`, since the caller may look after signals. A process has one handler for each signal, so one
// guard at a time may be wanted. A wish once heard stays: no guard that comes later lets anything be written.
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

// Has a guard of this process heard one, be it too late for its own change? Whoever has more to do stops.
bool signal_came();

}  // namespace qd::session
