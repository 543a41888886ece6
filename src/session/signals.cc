#include "session/signals.h"

namespace qd::session {
namespace {

std::atomic<bool> came = false;
constexpr std::atomic<bool> never = false;

}  // namespace

const std::atomic<bool>& SignalGuard::interrupted() const { return wanted_ ? came : never; }

SignalGuard::SignalGuard(bool wanted) : wanted_(wanted) {
  if (!wanted_) return;
  for (int i = 0; i < 3; ++i) {
    struct sigaction action {};
    action.sa_handler = [](int) { came = true; };
    ::sigaction(signals[i], &action, &before_[i]);
    if (before_[i].sa_handler == SIG_IGN) ::sigaction(signals[i], &before_[i], nullptr);
  }
}

SignalGuard::~SignalGuard() {
  for (int i = 0; wanted_ && i < 3; ++i) ::sigaction(signals[i], &before_[i], nullptr);
}

bool signal_came() { return came; }

}  // namespace qd::session
