#include "image/walk.h"

#include <algorithm>
#include <numeric>

#include "base/endian.h"

namespace qd::image {
namespace {

constexpr std::uint64_t batch_bytes = 2u << 20;        // of L2 tables
constexpr std::uint64_t slice_bytes = 8u << 20;        // of L1 tables, over all states

}  // namespace

BatchReader::BatchReader(const Image& image, std::span<const State> states, std::uint32_t first_index,
                         std::uint32_t end_index)
    : image_(image), states_(states), index_(first_index), end_(first_index) {
  for (const State& state : states) end_ = std::max(end_, std::min(end_index, entries_in_file(state)));
  const std::uint64_t width = slice_bytes / sizeof(std::uint64_t) / std::max<std::size_t>(states.size(), 1);
  slice_width_ = static_cast<std::uint32_t>(std::max<std::uint64_t>(width, 16));
  slice_begin_ = slice_end_ = index_;
}

// What a table claims beyond the end of the file reads as zeros, that is, as nothing to walk.
std::uint32_t BatchReader::entries_in_file(const State& state) const {
  if (state.l1_offset.value >= image_.size()) return 0;
  const std::uint64_t room = (image_.size() - state.l1_offset.value) / sizeof(std::uint64_t);
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(room, state.l1_size));
}

void BatchReader::load_slice() {
  slice_begin_ = index_;
  slice_end_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(end_, std::uint64_t{index_} + slice_width_));
  slice_.assign(states_.size(), {});
  for (std::uint32_t s = 0; s < states_.size(); ++s) {
    const State& state = states_[s];
    const std::uint32_t end = std::min(slice_end_, entries_in_file(state));
    const std::uint64_t at = state.l1_offset.value + std::uint64_t{slice_begin_} * sizeof(std::uint64_t);
    if (end <= slice_begin_) continue;
    slice_[s].resize(end - slice_begin_);
    auto read = image_.file().read(at, std::as_writable_bytes(std::span(slice_[s])));
    if (!read) {
      l1_errors_.emplace_back(s, read.error().message);
      slice_[s].clear();
    }
    for (std::uint64_t& entry : slice_[s]) entry = from_big_endian(entry);
  }
}

std::unique_ptr<Batch> BatchReader::next() {
  auto batch = std::make_unique<Batch>();
  const std::uint64_t cluster = image_.geometry->cluster_size();
  // A group is never split, so a batch may be larger than planned by one group.
  while (index_ < end_ && batch->tables_.size() * cluster < batch_bytes) {
    if (index_ == slice_end_) load_slice();
    add_group(*batch, index_++);
  }
  if (batch->pending_.empty()) return nullptr;
  return batch;
}

void BatchReader::add_group(Batch& batch, std::uint32_t l1_index) {
  row_.clear();
  for (std::uint32_t s = 0; s < states_.size(); ++s) {
    const std::uint32_t within = l1_index - slice_begin_;
    if (within < slice_[s].size() && slice_[s][within] != 0) row_.push_back({s, slice_[s][within]});
  }
  if (row_.empty()) return;
  const auto offset = [](const L1Entry& e) { return e.raw & format::offset_mask; };
  std::ranges::stable_sort(row_, {}, offset);

  batch.pending_.push_back({l1_index, static_cast<std::uint32_t>(batch.tables_.size()), 0});
  for (std::size_t i = 0; i < row_.size(); ++i) {
    if (i == 0 || offset(row_[i]) != offset(row_[i - 1])) {
      Table table;
      table.offset = HostOffset(offset(row_[i]));
      batch.tables_.push_back(table);
      batch.entry_counts_.push_back(0);
      ++batch.pending_.back().tables;
    }
    ++batch.entry_counts_.back();
    batch.entries_.push_back(row_[i]);
  }
}

void BatchReader::read(Batch& batch) const {
  const std::uint64_t cluster = image_.geometry->cluster_size(), words = cluster / sizeof(std::uint64_t);
  batch.words_ = std::make_unique_for_overwrite<std::uint64_t[]>(batch.tables_.size() * words);

  std::size_t entry = 0;
  for (std::size_t t = 0; t < batch.tables_.size(); ++t) {
    batch.tables_[t].entries = std::span(batch.entries_).subspan(entry, batch.entry_counts_[t]);
    entry += batch.entry_counts_[t];
  }

  // In the order of the file, and neighbours at once.
  std::vector<std::uint32_t> order(batch.tables_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, {}, [&](std::uint32_t t) { return batch.tables_[t].offset; });
  std::uint64_t* into = batch.words_.get();
  for (std::size_t i = 0; i < order.size();) {
    std::size_t n = 1;
    const HostOffset start = batch.tables_[order[i]].offset;
    while (i + n < order.size() && batch.tables_[order[i + n]].offset == start + n * cluster) ++n;
    std::span<std::uint64_t> buffer(into, n * words);
    auto read = image_.file().read(start.value, std::as_writable_bytes(buffer));
    if (!read && n > 1) {  // one bad sector must not hide the tables beside it
      n = 1;
      buffer = buffer.first(words);
      read = image_.file().read(start.value, std::as_writable_bytes(buffer));
    }
    if (!read) batch.errors_.push_back(std::make_unique<std::string>(read.error().message));
    for (std::size_t k = 0; k < n; ++k) {
      Table& table = batch.tables_[order[i + k]];
      if (read) {
        table.words = buffer.subspan(k * words, words);
      } else {
        table.error = batch.errors_.back().get();
      }
    }
    if (read && *read > 0) {
      for (std::uint64_t& word : buffer) word = from_big_endian(word);
    }
    into += n * words;
    i += n;
  }
  for (const Batch::Pending& p : batch.pending_) {
    batch.groups.push_back({p.l1_index, std::span(batch.tables_).subspan(p.first_table, p.tables)});
  }
}

}  // namespace qd::image
