#include "repair/editor.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/checked.h"
#include "base/uniform.h"
#include "check/claims.h"

namespace qd::repair {

// Nothing refers to the cluster, and no refcount says that it is in use. Behind the end of the file, a refcount counts
// only if its block is one and nothing else lies on it: others would let the file grow far beyond its end.
bool Editor::unused(std::uint64_t cluster) const {
  const check::Claims& c = view_.claims();
  if (c.dangles(ClusterIndex(cluster), view_.image().clusters())) return false;
  if (view_.refcounts().get(ClusterIndex(cluster)) != 0) {
    const auto& entry = view_.refcounts().entries()[cluster / view_.refcounts().block_entries()];
    const bool believed = !entry.garbage && doubts_.undisputed(HostOffset(entry.raw & format::reftable_offset_mask));
    if (believed || cluster < view_.image().clusters()) return false;
  }
  if (cluster >= c.clusters()) return true;
  if (c.owned.test(cluster) || c.counted(cluster)) return false;
  // This matters on a device: where some refcounts were too low, others may be as well, and only zeros are proof.
  if (!doubts_.refcounts_were_in_doubt() || force_) return true;
  std::vector<std::byte> bytes(view_.geometry().cluster_size());
  return view_.base().read(cluster << view_.geometry().cluster_bits, bytes) && all_zero(bytes);
}

// Entries that point past the end of a truncated file read as zeros, before and after a repair. But once the file has
// grown beyond them, nothing tells any more that there was data: a check would call the image good.
void Editor::grow_over_lost_data() {
  if (force_ || !view_.result().findings.any(check::Doubt::end)) return;
  growth_refused_ = true;
  view_.fail({EFBIG, "the file must not grow beyond what was cut off"});
}

std::optional<HostOffset> Editor::allocate(std::uint64_t clusters) {
  const bool grows = view_.base().traits().resizable;
  const std::uint64_t last_use = view_.result().totals.image_end_offset >> view_.geometry().cluster_bits;
  next_ = std::max(next_, grows ? view_.image().clusters() : last_use);
  const std::uint64_t end = grows ? std::min(view_.image().clusters() + view_.claims().dangling.size(),
                                             format::max_host_offset >> view_.geometry().cluster_bits)
                                  : view_.base().size() >> view_.geometry().cluster_bits;
  for (std::uint64_t run = 0; next_ < end;) {
    if (view_.claims().dangles(ClusterIndex(next_), view_.image().clusters())) grow_over_lost_data();
    if (view_.failed()) return std::nullopt;
    run = unused(next_++) ? run + 1 : 0;
    if (run == clusters) return HostOffset((next_ - clusters) << view_.geometry().cluster_bits);
  }
  view_.fail(
      {ENOSPC,
       fmt::format(
           "there is no room for {} new clusters behind the last one in use (0x{:x}){}{}; nothing was changed",
           clusters, last_use << view_.geometry().cluster_bits,
           !grows && doubts_.refcounts_were_in_doubt() ? " that hold nothing but zeros, where refcounts are wrong" : "",
           grows ? "" : ": make the device larger, or copy the image to a file")});
  return std::nullopt;
}

void Editor::write(Stage stage, HostOffset at, std::span<const std::byte> bytes) {
  if (view_.failed()) return;
  view_.outdate();
  if (auto done = transaction_.write(stage, at.value, bytes); !done) view_.fail(done.error());
}

void Editor::copy(HostOffset to, HostOffset from, std::uint64_t bytes) {
  if (view_.failed()) return;
  const bool in_base = from.value + bytes <= round_up(view_.base().size(), view_.geometry().cluster_size());
  if (!in_base) return write(Stage::fresh, to, view_.read(from, bytes));
  copy_from(Stage::fresh, to, view_.base(), from, bytes);
}

void Editor::copy_from(Stage stage, HostOffset to, const File& source, HostOffset from, std::uint64_t bytes) {
  if (view_.failed()) return;
  view_.outdate();
  if (auto done = transaction_.copy(stage, to.value, source, from.value, bytes); !done) view_.fail(done.error());
}

void Editor::copy_planned(HostOffset to, HostOffset from, std::uint64_t bytes) {
  write(Stage::fresh, to, view_.read(from, bytes));
}

void Editor::punch(HostOffset at, std::uint64_t bytes) {
  view_.outdate();
  transaction_.punch(at.value, bytes);
}

void Editor::resize(std::uint64_t bytes) {
  view_.outdate();
  transaction_.resize(bytes);
}

void Editor::write64(Stage stage, HostOffset at, std::uint64_t value) {
  const be64 raw(value);
  write(stage, at, std::as_bytes(std::span(&raw, 1)));
}

void Editor::put64(Stage stage, HostOffset at, std::uint64_t value, check::Code reason, std::string text, bool lossy) {
  const std::uint64_t before = view_.read64(at);
  if (before == value) return;
  write64(stage, at, value);
  act({reason, lossy, at, sizeof(be64), std::move(text), fmt::format("{:016x}", before),
       fmt::format("{:016x}", value)});
}

void Editor::act(Action action) { plan.add(std::move(action)); }

void Editor::begin(Step step) {
  step_ = step;
  if (!step) return;
  std::vector<Refusal> kept;
  std::vector<Step> kept_by;
  for (std::size_t i = 0; i < refused_by_.size(); ++i) {
    if (refused_by_[i] == step) continue;
    kept.push_back(std::move(plan.refusals[i]));
    kept_by.push_back(refused_by_[i]);
  }
  plan.refusals = std::move(kept);
  refused_by_ = std::move(kept_by);
}

void Editor::refuse(check::Code reason, std::string text) {
  constexpr std::size_t most = 1000;  // more than anybody reads
  const bool said = std::ranges::find(plan.refusals, text, &Refusal::text) != plan.refusals.end();
  if (said || plan.refusals.size() >= most) return;
  plan.refusals.push_back({reason, std::move(text)});
  refused_by_.push_back(step_);
}

}  // namespace qd::repair
