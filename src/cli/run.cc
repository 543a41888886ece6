#include "cli/run.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/info.h>
#include <oneapi/tbb/task_arena.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/number.h"
#include "cli/modes.h"
#include "cli/progress.h"
#include "io/descriptor.h"
#include "render/render.h"
#include "render/text/change.h"
#include "render/text/profile.h"
#include "session/session.h"
#include "session/signals.h"
#include "words/escape.h"

namespace qd::cli {
namespace {

using render::Output;
using session::Outcome;

render::Style style_for(const Options& options) {
  const char* no_color = std::getenv("NO_COLOR");
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  const bool wanted = (no_color == nullptr || *no_color == '\0') && terminal;
  return {.color = options.color.value_or(wanted), .advice = options.request.advice, .screen = terminal};
}

// One write is one record, and the kernel takes no more than about a thousand bytes of it.
void log_to_kernel(const std::string& line) {
  const std::string record = "<6>" + line.substr(0, 900);  // 6: information
  const Descriptor log(::open("/dev/kmsg", O_WRONLY | O_CLOEXEC));
  if (log.get() >= 0 && ::write(log.get(), record.data(), record.size()) >= 0) return;
  const int error = errno;
  (void)complain({error, fmt::format("warning: nothing was written to the kernel log: {}", std::strerror(error))});
}

// A dump fills a pipe faster than the default 64 KiB can be handed over.
void enlarge_pipe() { (void)::fcntl(STDOUT_FILENO, F_SETPIPE_SZ, 1 << 20); }

// One image after the other: asks the session for it, shows what goes on, and what came of it.
class Look final : public session::Observer {
 public:
  Look(const Options& options, Output& out)
      : o_(options), out_(out), request_(options.request), view_{.flags = o_.flags, .profile = o_.stats} {
    view_.style = style_for(o_);
  }

  // Returns the exit code. `state` rises to the image's state, if that is known.
  int at(const std::string& path, int& state);

 private:
  void begin(const char* phase, const File& file, std::uint64_t expected) override;
  void end() override { progress_->done(); }
  void planned(const session::Change& change) override;
  void written(const session::Change& change) override;
  Result<void> opened(const image::Image& image) override;
  void checked(Outcome& outcome) override;
  void finished(Outcome& outcome) override;

  Outcome run();
  void show_text(const Outcome& outcome);
  void show_stats(const Outcome& outcome);

  const Options& o_;
  Output& out_;
  session::Request request_;
  render::View view_;
  std::optional<Progress> progress_;  // of the present image
};

void Look::begin(const char* phase, const File& file, std::uint64_t expected) {
  progress_->phase(phase, file, expected);
}

// The plan is shown before it becomes real: whoever watches sees what is going on, whatever comes of it.
void Look::planned(const session::Change& change) {
  if (o_.json) return;
  render::print_plan(out_, change, view_.style);
  (void)out_.flush();
}

void Look::written(const session::Change& change) {
  if (o_.json) return;
  render::print_done(out_, request_.path, change);
  (void)out_.flush();  // the check that follows may be cut short; the way back must be known by then
}

Result<void> Look::opened(const image::Image& image) {
  if (request_.depth != session::Depth::check) return {};
  auto selection = render::select(image, o_.output, o_.snapshot);
  if (!selection) return tl::unexpected(selection.error());
  view_.selection = *selection;
  return {};
}

// A terminal where the text itself goes by shows progress enough.
void Look::checked(Outcome& outcome) {
  if (o_.json || !mode(o_.mode).entries) return;
  enlarge_pipe();
  std::optional<session::Watched> phase;
  if (::isatty(STDOUT_FILENO) != 1) {
    phase.emplace(*this, "dumping", outcome.image->file(), outcome.image->table_bytes());
  }
  render::print_entries(out_, outcome, view_);
}

Outcome Look::run() {
  if (request_.path != "-") return session::run(request_, *this);
  Outcome refused;
  refused.path = request_.path;
  refused.error =
      Error{EINVAL,
            "- is the name of standard input, and an image is read in no order: a file or a block device is "
            "wanted (./- is a file of that name)"};
  return refused;
}

int Look::at(const std::string& path, int& state) {
  request_.path = path;
  progress_.emplace(o_.progress);
  const Outcome outcome = run();
  progress_.reset();
  if (!outcome.error) state = std::max(state, outcome.exit_code());
  if (!outcome.error) return outcome.exit_code();
  if (o_.json) render::print_json(out_, outcome, o_.action, view_);
  return complain(*outcome.error);
}

void Look::finished(Outcome& outcome) {
  if (o_.json) {
    render::print_json(out_, outcome, o_.action, view_);
  } else {
    show_text(outcome);
  }
  if (!outcome.result) return;
  if (o_.stats) show_stats(outcome);
  if (o_.kernel_log) log_to_kernel(render::summary_line(outcome));
  if (outcome.change && !o_.json) render::print_way_back(out_, request_.path, *outcome.change);
}

void Look::show_text(const Outcome& outcome) {
  if (o_.header) return render::print_header(out_, &*outcome.image);
  mode(o_.mode).show(out_, outcome, view_);
}

// stdout is flushed first, so that the profile comes after the text if both go to one place.
void Look::show_stats(const Outcome& outcome) {
  (void)out_.flush();
  Output errors(STDERR_FILENO);
  render::print_profile(errors, request_.path, outcome.profile);
}

}  // namespace

int complain(const Error& error) {
  const std::string line = "qcow2-dump: " + escape(error.message) + "\n";
  (void)!::write(STDERR_FILENO, line.data(), line.size());
  return session::exit_code(error);
}

namespace {

int look_at_each(const Options& options, Output& out) {
  Look look(options, out);
  int worst = 0, worst_state = 0;
  for (const std::string& path : options.images) {
    if (options.images.size() > 1 && !options.json) {
      out.print("{}==> {} <==\n\n", &path == &options.images.front() ? "" : "\n", escape(path));
    }
    worst = std::max(worst, look.at(path, worst_state));
    if (!out.flush()) break;
    if (session::signal_came() && &path != &options.images.back()) {
      const auto left = static_cast<std::uint64_t>(&options.images.back() - &path);
      worst = std::max(worst, complain({EINTR, fmt::format("interrupted; not looked at: {}, from {} on",
                                                           counted(left, "image", "images"), *(&path + 1))}));
      break;
    }
  }
  if (worst > worst_state && worst_state > 0) {
    complain({0, fmt::format("not every image could be looked at; of the others the worst is {} (exit code {})",
                             check::status_name(static_cast<check::Status>(worst_state)), worst_state)});
  }
  return worst;
}

}  // namespace

bool asks_for_json(int argc, const char* const* argv) {
  return std::any_of(argv + std::min(argc, 1), argv + argc, [](std::string_view word) { return word == "--json"; });
}

int refuse(bool json, const Error& error, Output& out) {
  Outcome refused;
  refused.error = error;
  if (json) render::print_json(out, refused, "none", {});
  return complain(error);
}

int look_at_images(const Options& options, Output& out) {
  // Without the page cache each read makes its thread wait, and only many reads at once keep a disk busy.
  constexpr int waiting_for_each = 8, most_waiting = 32;
  const int wanted = options.jobs ? static_cast<int>(*options.jobs) : tbb::info::default_concurrency();
  const int jobs =
      options.request.direct ? std::max(wanted, std::min(wanted * waiting_for_each, most_waiting)) : wanted;
  const tbb::global_control threads(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(jobs));
  tbb::task_arena arena(jobs);  // the default arena has no more threads than cores
  return arena.execute([&] { return look_at_each(options, out); });
}

int explain(const Options& options, Output& out) {
  const std::string& what = options.explain;
  if (what == "all") return out.write(render::problems_document()), 0;
  if (what == "list") return out.write(render::explained_list()), 0;
  if (const auto code = check::find_code(what)) return out.write(render::explain(check::problem(*code))), 0;
  const std::string text = render::explain_word(what);
  if (!text.empty()) return out.write(text), 0;
  const auto why =
      fmt::format("'{}' is neither a problem's code nor a word of the report; --explain list has all", what);
  return refuse(options.json, {EINVAL, why}, out);
}

int finish(Output& out, int code) {
  const auto flushed = out.flush();
  if (flushed) return code;
  return flushed.error().number == EPIPE ? session::exit_code(flushed.error()) : complain(flushed.error());
}

}  // namespace qd::cli
