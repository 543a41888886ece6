// Checks an image, shows what a repair would do, does it under QEMU's locks and with an undo log, and takes it back.
#include <cstdio>
#include <cstdlib>

#include "session/session.h"
#include "words/escape.h"

namespace session = qd::session;
using qd::escape;  // texts may hold names out of the image, and these any bytes
int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s IMAGE\n", argv[0]), 2;
  const auto ask = [&](const session::Task& task, bool dry_run = false) {
    session::Outcome outcome = session::run({.path = argv[1], .task = task, .dry_run = dry_run, .signals = true});
    if (outcome.error)
      std::fprintf(stderr, "%s\n", escape(outcome.error->message).c_str()), std::exit(outcome.exit_code());
    return outcome;
  };
  const qd::repair::Wanted everything{.leak = true, .error = true, .reuse = true};

  std::printf("checked: %s\n", escape(ask({}).verdict->text).c_str());
  const session::Outcome planned = ask(everything, true);
  for (const qd::repair::Action& action : planned.change->plan.actions) {
    std::printf("would change 0x%llx: %s\n", static_cast<unsigned long long>(action.at.value),
                escape(action.text).c_str());
  }
  const session::Outcome repaired = ask(everything);
  std::printf("repaired: %s\n", escape(repaired.verdict->text).c_str());
  if (repaired.change->nothing) return 0;
  const session::Outcome before = ask(session::TakeBack{repaired.change->undo_log});
  std::printf("taken back by %s: %s\n", escape(before.undone->log).c_str(), escape(before.verdict->text).c_str());
}
