#include "edit/edit.h"

#include <algorithm>
#include <compare>
#include <utility>

#include "base/number.h"
#include "edit/commands.h"
#include "repair/steps.h"
#include "words/sentences.h"

namespace qd::edit {
namespace {

using check::Problem;
using check::Severity;

std::string_view name(const Command& command) {
  struct Name {
    std::string_view operator()(const Apply&) const { return "apply"; }
    std::string_view operator()(const Remove&) const { return "delete"; }
    std::string_view operator()(const Mark& mark) const { return mark.set ? "mark" : "clean"; }
    std::string_view operator()(const SetValue&) const { return "edit"; }
    std::string_view operator()(const CopyBytes&) const { return "copy"; }
    std::string_view operator()(const Rebase&) const { return "rebase"; }
  };
  return std::visit(Name(), command);
}

// The first error in the header; null if there is none. Without the header, nothing else can be read. What a hint
// stands for is none.
const check::Finding* header_error(const repair::Work& w) {
  const auto& list = w.view.result().findings.list();
  const bool hint = w.view.image().against_header();
  const auto found = std::ranges::find_if(list, [&](const check::Finding& f) {
    const Problem& row = check::problem(f.code);
    if (hint && f.code == check::Code::header_cluster_bits) return false;
    return row.severity == Severity::error && row.subject == check::Subject::header;
  });
  return found == list.end() ? nullptr : &*found;
}

Result<void> perform_any(repair::Work& w, const Command& command, const File* source) {
  if (const auto* copy = std::get_if<CopyBytes>(&command)) return perform(w, *copy, source);
  return std::visit(
      [&]<class C>(const C& c) -> Result<void> {
        if constexpr (std::is_same_v<C, CopyBytes>)
          return {};
        else
          return perform(w, c);
      },
      command);
}

// What an edit is measured by.
struct Before {
  bool header_unsound;
  check::Status status;
  auto operator<=>(const Before&) const = default;
};

// No edit may make a sound header unusable, unless it is forced.
Result<void> require_header(const repair::Work& w, const Before& before) {
  const check::Finding* error = header_error(w);
  if (w.wanted.force || before.header_unsound || !error) return {};
  return refused(fmt::format("the header would make no sense any more: {}. --force writes it all the same",
                             Sentences(w.view.image(), w.view.result())(*error)));
}

// A hint is for a header that says something wrong. Where the header is right, the image is misread by it, and so is
// what a change would do to it: it would seem to harm nothing.
Result<Before> before_edit(const repair::Work& w, const File& image, Transaction& transaction,
                           const check::Settings& options) {
  const auto of = [](const repair::Work& read) {
    return Before{header_error(read) != nullptr, read.view.result().status()};
  };
  const Before hinted = of(w);
  if (!w.view.image().against_header()) return hinted;
  repair::Work plain(image, {}, transaction, w.wanted, options);
  if (!plain.look() || of(plain) >= hinted) return hinted;
  if (w.wanted.force) return of(plain);
  return refused(
      fmt::format("less is wrong with the image by the header's cluster size, {} bytes, than by {}: leave "
                  "--cluster-size out, or go by it with --force",
                  plain.view.geometry().cluster_size(), w.view.geometry().cluster_size()));
}

}  // namespace

void act(repair::Work& w, HostOffset at, std::uint64_t bytes, std::string text, std::string before, std::string after) {
  w.editor.act({std::nullopt, false, at, bytes, std::move(text), std::move(before), std::move(after)});
}

Result<repair::Planned> plan_edit(const File& image, const image::Hints& hints, Transaction& transaction,
                                  const Command& command, bool force, const File* source,
                                  const check::Settings& options) {
  repair::Work w(image, hints, transaction, {.error = true, .force = force}, options);
  w.editor.plan.title = "Change";
  w.editor.plan.asked = name(command);
  if (!w.look()) return tl::unexpected(w.view.error());
  if (w.view.unreadable()) return fail(EIO, repair::unreadable_disk(image.path()));
  const auto before = before_edit(w, image, transaction, options);
  if (!before) return tl::unexpected(before.error());
  const std::uint64_t overflows = w.view.count(check::Code::refcount_overflow);
  // Nobody knows what single bytes are for, so nothing else is changed to fit them, and refcounts that are too narrow
  // don't stop them.
  const bool bytes = std::holds_alternative<SetValue>(command) || std::holds_alternative<CopyBytes>(command);
  if (auto done = perform_any(w, command, source); !done) return tl::unexpected(done.error());
  if (!bytes && !std::holds_alternative<Mark>(command)) repair::clear_unknown_features(w);
  if (w.view.outdated()) w.look();
  if (w.editor.growth_refused()) {
    return refused(fmt::format(
        "entries lead past the end of the file (0x{:x}), where their data was before it was cut off; behind "
        "new clusters they would read as zeros, and nothing would tell. --force goes on",
        image.size()));
  }
  if (w.view.failed()) return tl::unexpected(w.view.error());
  if (!bytes && w.view.count(check::Code::refcount_overflow) > overflows) {
    return fail(ERANGE, fmt::format("refcounts of {} can't count the references that there would be; nothing was "
                                    "changed. Convert the image to one with wider refcounts",
                                    counted(w.view.geometry().refcount_bits(), "bit", "bits")));
  }
  if (auto sound = require_header(w, *before); !sound) return tl::unexpected(sound.error());
  if (transaction.empty()) w.editor.plan.actions.clear();  // everything is so already
  const check::Status after = w.view.result().status();
  for (repair::Action& a : w.editor.plan.actions) a.lossy |= bytes && after > before->status;
  return repair::Planned{std::move(w.editor.plan), before->status, after, w.view.image().hints()};
}

}  // namespace qd::edit
