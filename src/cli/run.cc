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

#include "check/check.h"
#include "cli/mend.h"
#include "cli/progress.h"
#include "image/image.h"
#include "io/descriptor.h"
#include "io/file.h"
#include "journal/qemu_lock.h"
#include "render/dump/dump.h"
#include "render/render.h"
#include "render/selection.h"
#include "render/text/profile.h"
#include "words/escape.h"

namespace qd::cli {
namespace {

using render::Output;

render::Style style_for(const Options& options) {
  const char* no_color = std::getenv("NO_COLOR");
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  const bool wanted = (no_color == nullptr || *no_color == '\0') && terminal;
  return {.color = options.color.value_or(wanted), .advice = options.repair != "off", .screen = terminal};
}

// The tables of an image as its header describes them: what a walk reads at most.
std::uint64_t table_bytes(const image::Image& image) {
  if (!image.geometry) return 0;
  std::uint64_t l2_tables = image.header.l1_size;
  for (const format::Snapshot& snapshot : image.snapshots.entries) l2_tables += snapshot.l1_size;
  const std::uint64_t blocks = image.clusters() / image.geometry->refcount_block_entries() + 1;
  return std::min((l2_tables + blocks) << image.geometry->cluster_bits, image.file().allocated_bytes());
}

// One write is one record, and the kernel takes no more than about a thousand bytes of it.
void log_to_kernel(const std::string& line) {
  const std::string record = "<6>qcow2-dump: " + line.substr(0, 900);  // 6: information
  const Descriptor log(::open("/dev/kmsg", O_WRONLY | O_CLOEXEC));
  if (log.get() >= 0 && ::write(log.get(), record.data(), record.size()) >= 0) return;
  const int error = errno;
  (void)complain({error, fmt::format("warning: nothing was written to the kernel log: {}", std::strerror(error))});
}

// A dump fills a pipe faster than the default 64 KiB can be handed over.
void enlarge_pipe() { (void)::fcntl(STDOUT_FILENO, F_SETPIPE_SZ, 1 << 20); }

class Look {
 public:
  Look(const Options& options, Output& out) : o_(options), out_(out), style_(style_for(options)) {}

  // The image's state as an exit code.
  Result<int> at(const std::string& path);

 private:
  Result<int> take_back(const std::string& path);
  Result<int> look(const std::string& path, render::Done done);
  Result<Mending> mend(const std::string& path);
  check::Result check(const image::Image& image, bool in_use, Progress& progress);
  void print_stats(const std::string& path);
  void print(const image::Image& image, const check::Result& result, const render::Selection& selection,
             const render::Done& done, Progress& progress);

  const Options& o_;
  Output& out_;
  render::Style style_;
  Profile profile_;  // of the present image
};

// The plan is shown before it becomes real: whoever watches sees what is going on, whatever comes of it.
Result<Mending> Look::mend(const std::string& path) {
  Progress progress(o_.progress);
  auto mending = Mending::plan(o_, path, progress, profile_);
  if (!mending) return mending;
  if (!o_.json) {
    render::print_plan(out_, mending->report(), style_);
    (void)out_.flush();
  }
  if (auto done = mending->perform(progress, profile_); !done) return tl::unexpected(done.error());
  if (!o_.json) render::print_done(out_, path, mending->report());
  return mending;
}

Result<int> Look::at(const std::string& path) {
  profile_ = {};
  if (path == "-") {
    return fail(EINVAL,
                "- is the name of standard input, and an image is read in no order: a file or a block device is "
                "wanted (./- is a file of that name)");
  }
  if (o_.mode == "undo") return take_back(path);
  std::optional<ReadLock> lock;
  if (o_.lock && (!changes(o_) || o_.dry_run)) {
    auto taken = ReadLock::take(path);
    if (!taken) return tl::unexpected(taken.error());
    lock.emplace(std::move(*taken));
  }
  if (!changes(o_)) return look(path, {});
  const auto mending = mend(path);
  if (!mending) return tl::unexpected(mending.error());
  const auto code = look(path, {.repair = &mending->report()});
  if (code && !o_.json) render::print_way_back(out_, path, mending->report());
  return code;
}

// A program is told, in the shape that it knows, what the image is now; a person only that it was done.
Result<int> Look::take_back(const std::string& path) {
  const auto undone = undo(o_, path);
  if (!undone) return tl::unexpected(undone.error());
  if (!o_.json) return render::print_undo(out_, path, *undone), 0;
  const auto code = look(path, {.undo = &*undone});
  return code ? 0 : code;
}

// The exit code is that of a fresh check, also after a repair.
Result<int> Look::look(const std::string& path, render::Done done) {
  auto file = open_file(path, {.direct = o_.direct});
  if (!file) return tl::unexpected(file.error());
  const bool ours = o_.lock || (done.repair && !o_.dry_run);
  const bool in_use = !ours && has_writer(path).value_or(false);
  const auto image = image::Image::open(std::move(*file), {.cluster_bits = o_.cluster_bits});
  if (!image) return tl::unexpected(image.error());

  if (o_.header && !o_.json) {
    render::print_header(out_, &*image, style_);
    return 0;
  }
  const auto selection = render::select(*image, o_.output, o_.snapshot);
  if (!selection) return tl::unexpected(selection.error());

  Progress progress(o_.progress);
  const check::Result result = check(*image, in_use, progress);
  done.mode = o_.action;
  if (o_.stats) done.profile = &profile_;
  print(*image, result, *selection, done, progress);
  if (o_.stats) print_stats(path);
  if (o_.kernel_log) log_to_kernel(render::summary_line(*image, result));
  return static_cast<int>(result.status());
}

check::Result Look::check(const image::Image& image, bool in_use, Progress& progress) {
  progress.phase("checking", image.file(), table_bytes(image));
  check::Result result =
      check::check(image, {.decompress = o_.decompress, .backing_chain = !o_.no_backing_chain, .profile = &profile_});
  if (in_use) {
    check::Finding finding;
    finding.code = check::Code::image_in_use;
    result.findings.add(std::move(finding));
  }
  progress.done();
  return result;
}

// After what was printed before, wherever both go.
void Look::print_stats(const std::string& path) {
  (void)out_.flush();
  Output errors(STDERR_FILENO);
  render::print_profile(errors, path, profile_);
}

void Look::print(const image::Image& image, const check::Result& result, const render::Selection& selection,
                 const render::Done& done, Progress& progress) {
  if (o_.json) return render::print_json(out_, image, result, selection, done);
  if (o_.mode == "info") return render::print_info(out_, image, result, style_);
  if (o_.mode == "dump") {
    enlarge_pipe();
    // On one and the same terminal the dump itself is progress enough.
    if (::isatty(STDOUT_FILENO) != 1) progress.phase("dumping", image.file(), table_bytes(image));
    const ProfilePart part(&profile_, image.file());
    part.phase("dumping");
    return render::print_dump(out_, image, result, selection, {.flags = o_.flags, .profile = &profile_}, style_);
  }
  render::print_check(out_, image, result, selection, o_.mode == "error", style_);
}

int exit_code(const Error& error) { return error.number > 0 && error.number < 250 ? 256 - error.number : 256 - EIO; }

void print_failure(Output& out, std::optional<std::string_view> path, std::string_view action, const Error& error) {
  render::print_json_failure(out, path, action, static_cast<unsigned>(exit_code(error)), error.message);
}

}  // namespace

int complain(const Error& error) {
  const std::string line = "qcow2-dump: " + escape(error.message) + "\n";
  (void)!::write(STDERR_FILENO, line.data(), line.size());
  return exit_code(error);
}

namespace {

int look_at_each(const Options& options, Output& out) {
  Look look(options, out);
  int worst = 0, worst_state = 0;
  for (const std::string& path : options.images) {
    if (options.images.size() > 1 && !options.json) {
      out.print("{}==> {} <==\n\n", &path == &options.images.front() ? "" : "\n", escape(path));
    }
    const auto failed = [&](const Error& error) {
      if (options.json) print_failure(out, path, options.action, error);
      return complain(error);
    };
    const int code = guarded(
        [&] {
          const auto state = look.at(path);
          if (!state) return failed(state.error());
          worst_state = std::max(worst_state, *state);
          return *state;
        },
        failed);
    worst = std::max(worst, code);
    if (!out.flush()) break;
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
  if (json) print_failure(out, std::nullopt, "none", error);
  return complain(error);
}

int look_at_images(const Options& options, Output& out) {
  // Whoever reads without the page cache waits for each read, and only many at once keep a disk busy.
  constexpr int waiting_for_each = 8, most_waiting = 32;
  const int wanted = options.jobs ? static_cast<int>(*options.jobs) : tbb::info::default_concurrency();
  const int jobs = options.direct ? std::max(wanted, std::min(wanted * waiting_for_each, most_waiting)) : wanted;
  const tbb::global_control threads(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(jobs));
  tbb::task_arena arena(jobs);  // the one that is there by itself has no more threads than cores
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
  return flushed.error().number == EPIPE ? exit_code(flushed.error()) : complain(flushed.error());
}

}  // namespace qd::cli
