#include "image/walk.h"

#include <algorithm>
#include <bit>

#include "base/endian.h"
#include "base/wide.h"

namespace qd::image {
namespace {

constexpr std::uint64_t batch_bytes = 1u << 20;  // of L2 tables: what a processor's second cache holds
constexpr std::uint64_t slice_bytes = 8u << 20;  // of L1 tables, over all states
constexpr std::uint64_t least_read = 4096;       // bytes of a table that is cut
constexpr std::size_t most_skipped = 4096;       // tables that a batch names and doesn't read

QD_WIDE void from_big_endian(std::uint64_t* words, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) words[i] = qd::from_big_endian(words[i]);
}

}  // namespace

BatchReader::BatchReader(const Image& image, std::span<const State> states, const WalkOptions& options)
    : image_(image), states_(states), options_(options), data_(states.size()), readahead_(image.file()) {
  for (const State& state : states) end_ = std::max(end_, entries_in_file(state));
  std::size_t walked = 0;
  for (std::size_t s = 0; s < states.size(); ++s) walked += copies(s) > 0;
  const std::uint64_t width = slice_bytes / sizeof(std::uint64_t) / std::max<std::size_t>(walked, 1);
  slice_width_ = static_cast<std::uint32_t>(std::max<std::uint64_t>(width, 16));
}

// What a table claims beyond the end of the file reads as zeros, that is, as nothing to walk.
std::uint32_t BatchReader::entries_in_file(const State& state) const {
  if (state.l1_offset.value >= image_.size()) return 0;
  const std::uint64_t room = (image_.size() - state.l1_offset.value) / sizeof(std::uint64_t);
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(room, state.l1_size));
}

// Goes on to the next index at which any L1 table isn't in a hole: thousands of tables may claim holes.
void BatchReader::skip_holes() {
  std::uint64_t next = end_;
  for (std::uint32_t s = 0; s < states_.size(); ++s) {
    const State& state = states_[s];
    if (copies(s) == 0 || entries_in_file(state) <= index_) continue;
    const std::uint64_t at = state.l1_offset.value + std::uint64_t{index_} * sizeof(std::uint64_t);
    if (data_[s] <= at) data_[s] = image_.file().next_data(at);
    const std::uint64_t entry = index_ + (data_[s] - at) / sizeof(std::uint64_t);
    if (entry < entries_in_file(state)) next = std::min(next, entry);
  }
  index_ = static_cast<std::uint32_t>(next);
  readahead_.skip_to(index_);
}

void BatchReader::load_slice() {
  skip_holes();
  slice_begin_ = index_;
  slice_end_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(end_, std::uint64_t{index_} + slice_width_));
  slice_.assign(states_.size(), {});
  for (std::uint32_t s = 0; s < states_.size(); ++s) {
    const State& state = states_[s];
    const std::uint32_t end = copies(s) == 0 ? 0 : std::min(slice_end_, entries_in_file(state));
    const std::uint64_t at = state.l1_offset.value + std::uint64_t{slice_begin_} * sizeof(std::uint64_t);
    if (end <= slice_begin_) continue;
    slice_[s].resize(end - slice_begin_);
    auto read = image_.file().read(at, std::as_writable_bytes(std::span(slice_[s])));
    if (!read) {
      l1_errors_.emplace_back(s, read.error().message);
      slice_[s].clear();
    }
    from_big_endian(slice_[s].data(), slice_[s].size());
  }
}

void BatchReader::look_ahead() {
  readahead_.reach(index_, slice_end_, [&](std::uint64_t l1_index) {
    std::uint64_t last = 0;  // states in a row mostly share their tables
    for (const std::vector<std::uint64_t>& entries : slice_) {
      if (l1_index - slice_begin_ >= entries.size()) continue;
      const std::uint64_t offset = entries[l1_index - slice_begin_] & format::offset_mask;
      if (offset != 0 && offset != last) readahead_.add(offset, image_.geometry->cluster_size());
      last = offset;
    }
  });
}

std::unique_ptr<Batch> BatchReader::next() {
  if (options_.stop && *options_.stop) return nullptr;
  auto batch = std::make_unique<Batch>();
  // If groups aren't cut, a batch may be larger than planned by one group.
  while (index_ < end_ && batch->bytes_ < batch_bytes && batch->skipped_ < most_skipped &&
         (options_.most_entries == 0 || batch->l2_entries_ < options_.most_entries)) {
    if (index_ == slice_end_) load_slice();
    if (index_ == end_) break;
    if (next_entry_ == 0) {
      look_ahead();
      gather(index_);
    }
    if (!row_.empty()) add_piece(*batch);
    if (row_.empty() || next_entry_ == image_.geometry->l2_entries()) {
      next_entry_ = 0;
      ++index_;
    }
  }
  if (batch->pending_.empty()) return nullptr;
  return batch;
}

// The entries with the next L1 index, sorted by the table they name.
void BatchReader::gather(std::uint32_t l1_index) {
  row_.clear();
  counts_.clear();
  for (std::uint32_t s = 0; s < states_.size(); ++s) {
    const std::uint32_t within = l1_index - slice_begin_;
    if (within < slice_[s].size() && slice_[s][within] != 0) row_.push_back({s, slice_[s][within], copies(s)});
  }
  const auto offset = [](const L1Entry& e) { return e.raw & format::offset_mask; };
  std::ranges::stable_sort(row_, {}, offset);
  for (std::size_t i = 0; i < row_.size(); ++i) {
    if (i == 0 || offset(row_[i]) != offset(row_[i - 1])) counts_.push_back(0);
    ++counts_.back();
  }
  tables_of_row_.clear();
  std::size_t entry = 0;
  for (const std::uint32_t count : counts_) {
    Table& table = tables_of_row_.emplace_back();
    table.offset = HostOffset(offset(row_[entry]));
    for (const std::size_t end = entry + count; entry < end; ++entry) table.references += row_[entry].copies;
  }
  std::size_t skipped = 0;
  if (options_.repeats) skipped = look_for_repeats();
  all_skipped_ = skipped == counts_.size();
  tables_ += counts_.size() - skipped;
}

// Returns how many of the row's tables are skipped.
std::size_t BatchReader::look_for_repeats() {
  std::size_t entry = 0, skipped = 0;
  for (std::size_t t = 0; t < counts_.size(); entry += counts_[t++]) {
    Table& table = tables_of_row_[t];
    if (!options_.repeats->again(table.offset.value)) continue;
    const auto entries = std::span(row_).subspan(entry, counts_[t]);
    const bool active = std::ranges::any_of(entries, [](const L1Entry& e) { return e.state == 0; });
    table.key = {table.offset.value, end_of_disk(*image_.geometry, states_, index_, entries), active};
    table.visit = options_.repeats->visit(table.key, table.references);
    if (table.visit == Visit::recorded) table.skipped = options_.repeats->skipped(table.key);
    skipped += table.visit == Visit::skipped;
  }
  return skipped;
}

// How many entries of each table of the group a batch takes at once.
std::uint64_t BatchReader::piece_entries() const {
  const std::uint64_t all = image_.geometry->l2_entries(), entry_bytes = image_.geometry->l2_entry_bytes();
  if (options_.most_entries == 0 || all_skipped_) return all;
  const std::uint64_t fitting = std::bit_floor(std::max(batch_bytes / counts_.size(), least_read)) / entry_bytes;
  return std::min({all, options_.most_entries, fitting});
}

void BatchReader::add_piece(Batch& batch) {
  const std::uint64_t begin = next_entry_, end = begin + piece_entries();
  batch.pending_.push_back({index_, static_cast<std::uint32_t>(batch.tables_.size()),
                            static_cast<std::uint32_t>(counts_.size()), begin, end});
  batch.tables_.insert(batch.tables_.end(), tables_of_row_.begin(), tables_of_row_.end());
  batch.entries_.insert(batch.entries_.end(), row_.begin(), row_.end());
  batch.entry_counts_.insert(batch.entry_counts_.end(), counts_.begin(), counts_.end());
  const auto skipped = std::ranges::count(tables_of_row_, Visit::skipped, &Table::visit);
  const auto read = counts_.size() - static_cast<std::size_t>(skipped);
  batch.skipped_ += static_cast<std::size_t>(skipped);
  batch.bytes_ += read * (end - begin) * image_.geometry->l2_entry_bytes();
  if (read > 0) batch.l2_entries_ += end - begin;
  next_entry_ = end;
}

// In the order of the file, and neighbours at once.
void BatchReader::read(Batch& batch, ReadBuffer& buffer) const {
  struct Read {
    HostOffset from;
    std::uint64_t words;
    Table* table;
    std::uint64_t begin;
  };
  const unsigned width = image_.geometry->l2_words();
  std::vector<Read> order;
  order.reserve(batch.tables_.size());
  std::size_t entry = 0, t = 0;
  for (const Batch::Pending& p : batch.pending_) {
    for (const std::size_t end = t + p.tables; t < end; ++t) {
      Table& table = batch.tables_[t];
      table.entries = std::span(batch.entries_).subspan(entry, batch.entry_counts_[t]);
      entry += batch.entry_counts_[t];
      if (table.visit == Visit::skipped) continue;
      order.push_back(
          {table.offset + p.begin * width * sizeof(std::uint64_t), (p.end - p.begin) * width, &table, p.begin});
    }
    batch.groups.push_back({p.l1_index, p.begin, p.end, std::span(batch.tables_).subspan(p.first_table, p.tables)});
  }
  std::ranges::sort(order, {}, &Read::from);

  std::span<std::uint64_t> room = buffer.words(batch.bytes_ / sizeof(std::uint64_t));
  for (std::size_t i = 0; i < order.size();) {
    std::size_t n = 0;
    std::uint64_t words = 0;
    do words += order[i + n++].words;
    while (i + n < order.size() && order[i + n].from == order[i].from + words * sizeof(std::uint64_t));
    const auto read = [&] {
      return image_.file().read(order[i].from.value, std::as_writable_bytes(room.first(words)));
    };
    auto done = read();
    if (!done && n > 1) {  // one bad sector must not hide the tables beside it
      n = 1;
      words = order[i].words;
      done = read();
    }
    if (!done) batch.errors_.push_back(std::make_unique<std::string>(done.error().message));
    if (done && *done > 0) from_big_endian(room.data(), words);
    for (; n > 0; --n, ++i) {
      Table& table = *order[i].table;
      if (done) {
        table.l2 = L2Entries(room.first(order[i].words), order[i].begin, width);
      } else {
        table.error = batch.errors_.back().get();
      }
      room = room.subspan(order[i].words);
    }
  }
}

}  // namespace qd::image
