#include "repair/work.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace qd::repair {

Work::Work(const File& base, Transaction& transaction, const Wanted& wanted_, const check::Options& options)
    : wanted(wanted_), base_(base), transaction_(transaction), options_(options) {}

bool Work::look() {
  if (failed()) return false;
  auto image = image::Image::open(transaction_.view());
  if (!image) return fail(image.error()), false;
  image_.emplace(std::move(*image));
  result_ = check::check(*image_, options_);
  if (!std::exchange(looked_, true)) first_doubt_ = result_.leak_doubt;
  changed_ = false;
  return true;
}

void Work::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

const image::State* Work::state(std::int32_t snapshot) const {
  const auto found = std::ranges::find(result_.states, snapshot, &image::State::snapshot);
  return found == result_.states.end() ? nullptr : &*found;
}

std::optional<HostOffset> Work::l1_entry(std::int32_t snapshot, std::uint32_t l1_index) const {
  const image::State* s = state(snapshot);
  if (!s || l1_index >= s->l1_size) return std::nullopt;
  return s->l1_offset + std::uint64_t{l1_index} * sizeof(be64);
}

std::optional<HostOffset> Work::l2_table(std::int32_t snapshot, std::uint32_t l1_index) {
  const auto at = l1_entry(snapshot, l1_index);
  if (!at) return std::nullopt;
  const HostOffset table(read64(*at) & format::offset_mask);
  const bool possible = table.value != 0 && geometry().offset_in_cluster(table.value) == 0 && table.value < image_->size();
  return possible ? std::optional(table) : std::nullopt;
}

std::vector<std::byte> Work::read(HostOffset at, std::uint64_t bytes) {
  std::vector<std::byte> buffer(bytes);
  if (auto done = image_->file().read(at.value, buffer); !done) fail(done.error());
  return buffer;
}

std::uint64_t Work::read64(HostOffset at) { return load_big_endian<std::uint64_t>(read(at, sizeof(be64)).data()); }

bool Work::undisputed(HostOffset offset) const {
  const std::uint64_t cluster = geometry().cluster(offset).value;
  return offset.value < image_->size() && !claims().conflict.test(cluster);
}

// Referred to by nothing, and with no refcount that says otherwise.
bool Work::unused(std::uint64_t cluster) const {
  const check::Claims& c = claims();
  if (cluster >= c.clusters() + c.growth() || refcounts().get(ClusterIndex(cluster)) != 0) return false;
  if (cluster >= c.clusters()) return !c.dangles(ClusterIndex(cluster));
  return !c.owned.test(cluster) && !c.counted(cluster);
}

std::optional<HostOffset> Work::allocate(std::uint64_t clusters) {
  const bool device = base_.kind() == FileKind::block_device;
  const std::uint64_t last_use = result_.totals.image_end_offset >> geometry().cluster_bits;
  next_ = std::max(next_, device ? last_use : image_->clusters());
  const std::uint64_t end = device ? base_.size() >> geometry().cluster_bits
                                   : std::min(claims().clusters() + claims().growth(),
                                              format::max_host_offset >> geometry().cluster_bits);
  for (std::uint64_t run = 0; next_ < end;) {
    run = unused(next_++) ? run + 1 : 0;
    if (run == clusters) return HostOffset((next_ - clusters) << geometry().cluster_bits);
  }
  fail({ENOSPC, fmt::format("there is no room for {} new clusters behind the last one in use (0x{:x}){}; nothing was changed",
                            clusters, last_use << geometry().cluster_bits,
                            device ? ": make the device larger, or copy the image to a file" : "")});
  return std::nullopt;
}

void Work::write(Stage stage, HostOffset at, std::span<const std::byte> bytes) {
  if (failed()) return;
  changed_ = true;
  if (auto done = transaction_.write(stage, at.value, bytes); !done) fail(done.error());
}

void Work::copy(HostOffset to, HostOffset from, std::uint64_t bytes) {
  if (failed()) return;
  // What the repair itself changes must be copied as it will be; all else is left where it is until then.
  std::vector<std::byte> now(bytes);
  if (auto done = base_.read(from.value, now); !done) return fail(done.error());
  const std::vector<std::byte> planned = read(from, bytes);
  if (planned != now) return write(Stage::fresh, to, planned);
  changed_ = true;
  if (auto done = transaction_.copy(Stage::fresh, to.value, base_, from.value, bytes); !done) fail(done.error());
}

void Work::punch(HostOffset at, std::uint64_t bytes) {
  changed_ = true;
  transaction_.punch(at.value, bytes);
}

void Work::resize(std::uint64_t bytes) {
  changed_ = true;
  transaction_.resize(bytes);
}

void Work::write64(Stage stage, HostOffset at, std::uint64_t value) {
  const be64 raw(value);
  write(stage, at, std::as_bytes(std::span(&raw, 1)));
}

void Work::put64(Stage stage, HostOffset at, std::uint64_t value, check::Code reason, std::string text, bool lossy) {
  const std::uint64_t before = read64(at);
  if (before == value) return;
  write64(stage, at, value);
  act({reason, lossy, at, sizeof(be64), std::move(text), fmt::format("{:016x}", before), fmt::format("{:016x}", value)});
}

void Work::act(Action action) { plan.add(std::move(action)); }

void Work::refuse(check::Code reason, std::string text) { plan.refusals.push_back({reason, std::move(text)}); }

void Work::release(HostOffset at, std::uint64_t bytes) {
  if (bytes == 0 || at.value >= image_->size()) return;
  const std::uint64_t end = std::min(at.value + bytes, image_->size());
  for (std::uint64_t c = geometry().cluster(at).value; c < geometry().clusters(end); ++c) released_.insert(c);
}

bool Work::may_free_leaks() const {
  return wanted.leak && (wanted.force || (!lost_ && !result_.leak_doubt.forbids_freeing()));
}

}  // namespace qd::repair
