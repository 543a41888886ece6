#include "check/table_scan.h"

#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>

#include "check/content.h"
#include "image/compressed.h"
#include "image/runs.h"

namespace qd::check {

using format::ClusterType;
using image::Group;
using image::Table;

TableScan::TableScan(const Context& context, const Group& group, const Table& table, Scan& scan)
    : c_(context), g_(context.geometry()), group_(group), table_(table), scan_(scan) {
  state_ = context.result.states[table.entries.front().state].snapshot;
  active_ = std::ranges::any_of(table.entries, [](const image::L1Entry& e) { return e.state == 0; });
  check_copied_ =
      std::ranges::any_of(table.entries, [this](const image::L1Entry& e) { return copied_means_something(e); });
  end_of_disk_ = image::end_of_disk(g_, context.result.states, group.l1_index, table.entries);
  no_table_ = !context.is_garbage(table) && is_no_table(context, table);
  if (table.visit == image::Visit::recorded) recorded_.emplace().listed = !no_table_;
  garbage_ = no_table_ || context.is_garbage(table);
  odd_bits_ = garbage_ || g_.data_file || g_.extended_l2
                  ? ~std::uint64_t{0}
                  : ~(format::copied_flag | (format::offset_mask & ~(g_.cluster_size() - 1)));
  end_of_file_ = context.size() & ~(g_.cluster_size() - 1);
}

Finding TableScan::at(Code code, std::uint64_t l2_index, std::uint64_t count, std::uint64_t raw) const {
  Finding f;
  f.code = code;
  f.state = state_;
  f.count = count;
  f.l1_index = group_.l1_index;
  f.l2_index = static_cast<std::uint32_t>(l2_index);
  f.guest = g_.guest(group_.l1_index, l2_index);
  f.found = raw;
  return f;
}

void TableScan::report_no_table() {
  scan_.no_tables.push_back(table_.offset);
  Finding f = at(Code::l1_no_table, 0, 1, table_.entries.front().raw);
  f.l2_index.reset();
  f.host = table_.offset;
  f.detail = held_by(c_, table_.offset);
  report(f, Times::once);
}

void TableScan::judge_l1_entries() {
  const std::uint64_t offset = table_.offset.value;
  if (no_table_) report_no_table();
  for (const image::L1Entry& e : table_.entries) judge_l1_entry(e);
  if (offset >= c_.size()) return c_.claim_beyond(table_.offset, g_.cluster_size());

  const ClusterIndex first = g_.cluster(table_.offset);
  if (garbage_) {
    c_.claims->reach(first, g_.offset_in_cluster(offset) != 0 ? 2 : 1);
  } else {
    c_.claims->claim(first, 1, references());
  }
}

// A table that is cut off is one finding. What can't be read of a table is one for each piece.
void TableScan::judge_reading() {
  const bool truncated = group_.begin == 0 && c_.cut_off(table_.offset, g_.cluster_size());
  if (!table_.error && !truncated) return;
  Finding f = at(table_.error ? Code::l2_unreadable : Code::l2_truncated, group_.begin, 1, table_.offset.value);
  if (group_.begin == 0) f.l2_index.reset();
  f.host = table_.offset;
  f.expected = c_.image.file().size();
  if (table_.error) f.detail = *table_.error;
  report(f, Times::once);
}

void TableScan::judge_l1_entry(const image::L1Entry& e) {
  const std::uint64_t offset = table_.offset.value;
  const bool unaligned = g_.offset_in_cluster(offset) != 0, past_end = offset >= c_.size();
  Finding f;
  f.state = c_.result.states[e.state].snapshot;
  f.l1_index = group_.l1_index;
  f.guest = g_.guest(group_.l1_index, 0);
  f.found = e.raw;
  const auto found = [&](Code code, std::uint64_t value, std::optional<std::uint64_t> expected = {}) {
    f.code = code;
    f.found = value;
    f.expected = expected;
    Context::count(scan_.totals, f, e.copies);
    scan_.findings.add(f);
  };
  const bool reserved = (e.raw & format::l1_reserved_mask) != 0;
  if (reserved) found(Code::l1_reserved, e.raw);
  if (offset == 0 && !reserved) found(Code::l1_no_offset, e.raw);
  if (past_end) found(Code::l1_past_end, offset, c_.size());
  if (past_end && !reserved && !unaligned && c_.refcounts->any(g_.cluster(table_.offset), 1)) {
    ++scan_.reports[e.state].cut_off;
    scan_.furthest = std::max(scan_.furthest, offset + g_.cluster_size());
  }
  if (unaligned) found(Code::l1_unaligned, offset);

  TableCounts& counts = scan_.reports[e.state].l1;
  ++(reserved || past_end || offset == 0 ? counts.invalid : unaligned ? counts.unaligned : counts.used);

  if (!copied_means_something(e)) return;
  const std::uint64_t refcount = c_.refcounts->get(g_.cluster(table_.offset));
  if ((refcount == 1) == ((e.raw & format::copied_flag) != 0)) return;
  ++scan_.reports[0].l1_copied_errors;
  f.host = table_.offset;
  f.detail = refcount == 1 ? "clear" : "set";
  if (no_table_ || c_.refcounts->garbage(g_.cluster(table_.offset))) {
    f.code = Code::l1_copied;
    return Context::count(scan_.totals, f, 1);
  }
  found(Code::l1_copied, e.raw, refcount);
}

// Only active tables promise what COPIED says, and only a readable refcount can contradict it.
bool TableScan::copied_means_something(const image::L1Entry& e) const {
  return e.state == 0 && table_.offset.value != 0 && c_.image.refcounts_readable &&
         c_.refcounts->readable(g_.cluster(table_.offset));
}

// A snapshot's table mostly holds what the leader holds: then it takes over the leader's figures. For the active table
// there is more to look at.
std::uint64_t TableScan::judge_entries(std::uint64_t begin, std::uint64_t end, const Sharing& sharing,
                                       const TableScan& leader) {
  if (!sharing.claims && sharing.identical && leader.plain_stretch_ && !active_ && !garbage_ &&
      end_of_disk_ >= leader.end_of_disk_) {
    figures_.data_clusters += leader.stretch_;
    figures_.l2.used += leader.stretch_;
    return leader.stretch_;
  }
  constexpr std::uint64_t ahead = 16;  // entries; by then the memory has arrived
  stretch_ = 0;
  plain_stretch_ = true;
  image::for_runs(g_, table_.l2, begin, end, [&](std::uint64_t first, std::uint64_t count) {
    ++scan_.runs;
    const std::uint64_t raw = word(first);
    if (!ordinary(first, count, raw)) return judge_odd(first, count, sharing);
    // The bits of scattered clusters are scattered in memory, too.
    if (count == 1 && first + ahead < end) {
      c_.claims->prefetch(g_.cluster(HostOffset(word(first + ahead) & format::offset_mask)));
    }
    judge_ordinary(first, count, raw, sharing);
  });
  return stretch_;
}

// Is nothing wrong with this run, as far as can be told without the refcounts?
bool TableScan::ordinary(std::uint64_t first, std::uint64_t count, std::uint64_t raw) const {
  const std::uint64_t offset = raw & format::offset_mask;
  return (raw & odd_bits_) == 0 && offset != 0 && offset + (count << g_.cluster_bits) <= end_of_file_ &&
         first + count <= end_of_disk_;
}

void TableScan::judge_ordinary(std::uint64_t first, std::uint64_t count, std::uint64_t raw, const Sharing& sharing) {
  const std::uint64_t offset = raw & format::offset_mask;
  const ClusterIndex cluster = g_.cluster(HostOffset(offset));
  RunRefcount refcount;
  if (sharing.claims) {
    refcount = c_.claims->claim(cluster, count, sharing.references);
    sharing.count_data(count, scan_.usage, scan_.reports);
  } else if (check_copied_) {
    refcount = c_.refcounts->run(cluster, count);
  }
  if (active_) count_fragments(offset, count);
  if (check_copied_) judge_copied(first, count, raw, refcount);
  stretch_ += count;
  figures_.data_clusters += count;
  figures_.l2.used += count;
}

void TableScan::judge_odd(std::uint64_t first, std::uint64_t count, const Sharing& sharing) {
  const std::uint64_t raw = word(first);
  const ClusterType type = format::cluster_type(g_, raw);
  plain_stretch_ = false;
  if (type != ClusterType::unallocated && type != ClusterType::zero_plain) stretch_ += count;
  if (type == ClusterType::compressed) return judge_compressed(first, sharing);

  judge_flags(first, count, raw);
  const bool reserved = (raw & format::l2_reserved_mask) != 0;
  const std::uint64_t bitmap = table_.l2.bitmap(first);
  if (type == ClusterType::unallocated) {
    if (bitmap & 0xffffffff) report(at(Code::l2_bitmap_unallocated, first, 1, bitmap), Times::each);
    if (reserved || (bitmap & 0xffffffff)) {
      ++figures_.l2.invalid;
    } else if (bitmap != 0) {
      ++figures_.zero_plain;
    }
    return;
  }
  if (type == ClusterType::zero_plain) {
    (reserved ? figures_.l2.invalid : figures_.zero_plain) += count;
    return;
  }
  if ((bitmap >> 32) & bitmap) {
    Finding f = at(Code::l2_bitmap, first, 1, bitmap);
    f.host = HostOffset(raw & format::offset_mask);
    report(f, Times::each);
  }
  if (first + count > end_of_disk_) {
    const std::uint64_t beyond = std::max(first, end_of_disk_);
    Finding f = at(Code::l2_beyond_end, beyond, first + count - beyond, word(beyond));
    f.expected = c_.result.states[table_.entries.front().state].disk_size;
    f.host = HostOffset(word(beyond) & format::offset_mask);
    report(f, Times::each);
  }
  if (active_) count_fragments(raw & format::offset_mask, count);
  if (g_.data_file) {
    judge_data_file(first, count);
  } else {
    judge_allocated(first, count, sharing);
  }
}

void TableScan::judge_flags(std::uint64_t first, std::uint64_t count, std::uint64_t raw) {
  if (raw & format::l2_reserved_mask) report(at(Code::l2_reserved, first, count, raw), Times::each);
  if (!(raw & format::zero_flag)) return;
  if (c_.image.header.version < 3) report(at(Code::l2_zero_v2, first, count, raw), Times::each);
  if (g_.extended_l2) report(at(Code::l2_zero_extended, first, count, raw), Times::each);
}

// What lies behind the end of the file was there once, if it has a refcount.
void TableScan::judge_cut_off(std::uint64_t offset, std::uint64_t clusters) {
  const ClusterIndex first = g_.cluster(HostOffset(offset));
  if (garbage_ || !c_.refcounts->any(first, clusters)) return;
  figures_.cut_off += clusters;
  scan_.furthest = std::max(scan_.furthest, offset + (clusters << g_.cluster_bits));
}

// Uncompressed data in the image file. The part of a run that lies past the file's end can't be claimed.
void TableScan::judge_allocated(std::uint64_t first, std::uint64_t count, const Sharing& sharing) {
  const std::uint64_t raw = word(first), offset = raw & format::offset_mask;
  const bool unaligned = g_.offset_in_cluster(offset) != 0;
  const std::uint64_t inside =
      offset < c_.size() ? std::min(count, (c_.size() - offset + g_.cluster_size() - 1) >> g_.cluster_bits) : 0;

  if (unaligned) {
    Finding f = at(Code::l2_unaligned, first, count, offset);
    f.host = HostOffset(offset);
    report(f, Times::each);
  }
  if (inside < count) {
    const std::uint64_t outside = offset + (inside << g_.cluster_bits);
    Finding f = at(Code::l2_past_end, first + inside, count - inside, outside);
    f.host = HostOffset(outside);
    f.expected = c_.size();
    report(f, Times::each);
    c_.claim_beyond(HostOffset(outside), ((count - inside) << g_.cluster_bits));
    if (!unaligned) judge_cut_off(outside, count - inside);
  }

  const ClusterIndex cluster = g_.cluster(HostOffset(offset));
  RunRefcount refcount;
  if (inside > 0 && sharing.claims) {
    if (unaligned || garbage_) {
      c_.claims->reach(cluster, inside + unaligned);
    } else {
      refcount = c_.claims->claim(cluster, inside, sharing.references);
      sharing.count_data(inside, scan_.usage, scan_.reports);
    }
  }
  if (inside < count || unaligned || garbage_ || !sharing.claims) {
    refcount = c_.refcounts->run(cluster, count);
  }
  if (check_copied_) judge_copied(first, count, raw, refcount);

  const bool reserved = (raw & format::l2_reserved_mask) != 0;
  figures_.data_clusters += inside;
  figures_.l2.invalid += reserved ? count : count - inside;
  if (reserved) return;
  (unaligned ? figures_.l2.unaligned : raw & format::zero_flag ? figures_.zero_allocated : figures_.l2.used) += inside;
}

// COPIED promises that the refcount is 1. `run` spares the look at each cluster in nearly all cases.
void TableScan::judge_copied(std::uint64_t first, std::uint64_t count, std::uint64_t raw, RunRefcount run) {
  const bool copied = (raw & format::copied_flag) != 0;
  if (run && (*run == 1) == copied) return;
  const ClusterIndex cluster = g_.cluster(HostOffset(raw & format::offset_mask));
  const auto wrong = [&](std::uint64_t i, std::uint64_t n, std::uint64_t refcount) {
    Finding f = at(Code::l2_copied, first + i, n, word(first + i));
    f.host = HostOffset(word(first + i) & format::offset_mask);
    f.expected = refcount;
    f.detail = copied ? "set" : "clear";
    if (c_.refcounts->garbage(cluster + i)) {
      Context::count(scan_.totals, f, 1);
    } else {
      report(f, Times::once);
    }
    scan_.reports[0].l2_copied_errors += n;
  };
  if (run && c_.refcounts->all_sound(cluster, count)) return wrong(0, count, *run);
  for (std::uint64_t i = 0; i < count; ++i) {
    if (!c_.refcounts->readable(cluster + i)) continue;
    const std::uint64_t refcount = c_.refcounts->get(cluster + i);
    if ((refcount == 1) != copied) wrong(i, 1, refcount);
  }
}

// Data in the external file: there are no refcounts, every cluster counts as used once, and offsets equal the guest's.
void TableScan::judge_data_file(std::uint64_t first, std::uint64_t count) {
  const std::uint64_t raw = word(first), offset = raw & format::offset_mask;
  const GuestOffset guest = g_.guest(group_.l1_index, first);
  if (g_.offset_in_cluster(offset) != 0) report(at(Code::l2_unaligned, first, count, offset), Times::each);
  if (offset != guest.value) {
    Finding f = at(Code::data_file_not_identity, first, count, offset);
    f.expected = guest.value;
    report(f, Times::each);
  }
  const ClusterIndex cluster = g_.cluster(HostOffset(offset));
  if (!no_table_ && cluster.value + count <= c_.data_claims->clusters()) {
    c_.data_claims->claim(cluster, count, references());
  }
  const std::uint64_t size = c_.data_file_size.value_or(~std::uint64_t{0});
  if (offset + ((count - 1) << g_.cluster_bits) >= size && !(raw & format::zero_flag)) {
    const std::uint64_t inside = offset < size ? (size - offset + g_.cluster_size() - 1) >> g_.cluster_bits : 0;
    Finding f = at(Code::data_file_past_end, first + inside, count - inside, offset);
    f.host = HostOffset(offset + (inside << g_.cluster_bits));
    f.expected = size;
    report(f, Times::each);
  }
  if (check_copied_ && !(raw & format::copied_flag)) {
    Finding f = at(Code::l2_copied, first, count, raw);
    f.host = HostOffset(offset);
    f.expected = 1;
    f.detail = "clear";
    report(f, Times::once);
    scan_.reports[0].l2_copied_errors += count;
  }
  (raw & format::zero_flag ? figures_.zero_allocated : figures_.l2.used) += count;
  figures_.data_clusters += count;
}

void TableScan::judge_compressed(std::uint64_t index, const Sharing& sharing) {
  const std::uint64_t raw = word(index);
  const auto garbage = [&](Code code, std::uint64_t value) {
    report(at(code, index, 1, value), Times::each);
    ++figures_.l2.invalid;
  };
  if (raw & format::copied_flag) report(at(Code::compressed_copied, index, 1, raw), Times::each);
  if (g_.data_file) return garbage(Code::compressed_data_file, raw);
  if (const std::uint64_t bitmap = table_.l2.bitmap(index)) return garbage(Code::compressed_bitmap, bitmap);

  if (active_) {
    ++totals_.allocated_clusters;
    ++totals_.compressed_clusters;
    ++totals_.fragmented_clusters;
  }
  const format::CompressedRange range = g_.compressed(raw);
  const bool high = range.offset.value >= format::max_host_offset;
  if (high) report(at(Code::compressed_high_bits, index, 1, raw), Times::each);
  if (c_.past_end(range.offset, range.bytes)) {
    Finding f = at(Code::compressed_past_end, index, 1, range.bytes);
    f.host = range.offset;
    f.expected = c_.size();
    report(f, Times::each);
    ++figures_.l2.invalid;
    if (!high) judge_cut_off(range.offset.value & ~(g_.cluster_size() - 1), 1);
    return c_.claim_beyond(range.offset, range.bytes);
  }
  ++figures_.compressed;
  if (!sharing.claims) return;
  const ClusterIndex first = g_.cluster(range.offset), last = g_.cluster(range.offset + (range.bytes - 1));
  if (garbage_) return c_.claims->reach(first, last - first + 1);
  c_.claims->claim_compressed(first, last - first + 1, sharing.references);
  if (c_.options.decompress) compressed_.push_back(index);
}

// All threads share the work of one table: decompressing what it names takes a thousand times as long as the table
// itself. A thread that waits here must not begin another batch meanwhile, whose tables would be read into this one's
// memory. Any number of entries may name one payload: it is tried once.
void TableScan::try_decompressing() {
  if (compressed_.empty()) return;
  constexpr std::size_t most_remembered = 65536;
  if (scan_.tried.size() > most_remembered) scan_.tried.clear();
  std::vector<decltype(scan_.tried)::iterator> fresh;
  for (const std::uint64_t index : compressed_) {
    if (const auto [place, is_new] = scan_.tried.try_emplace(word(index)); is_new) fresh.push_back(place);
  }
  tbb::this_task_arena::isolate([&] {
    tbb::parallel_for(std::size_t{0}, fresh.size(), [&](std::size_t i) {
      thread_local std::vector<std::byte> cluster;
      cluster.resize(g_.cluster_size());
      if (auto done = image::decompress(c_.image, fresh[i]->first, cluster); !done) {
        fresh[i]->second = done.error().message;
      }
    });
  });
  std::erase_if(compressed_, [&](std::uint64_t index) { return scan_.tried[word(index)].empty(); });
  if (compressed_.empty()) return;
  // For every state that has the cluster, not only for the one that claims it.
  for (const Table& table : group_.tables) {
    if (table.l2.empty()) continue;
    for (const image::L1Entry& e : table.entries) {
      for (const std::uint64_t index : compressed_) {
        if (key(table.l2.raw(index), 0) != key(word(index), 0)) continue;
        Finding f = at(Code::compressed_payload, index, 1, word(index));
        f.state = c_.result.states[e.state].snapshot;
        f.host = g_.compressed(word(index)).offset;
        f.detail = scan_.tried[word(index)];
        report(f, Times::once);
      }
    }
  }
}

void TableScan::count_fragments(std::uint64_t offset, std::uint64_t count) {
  totals_.allocated_clusters += count;
  totals_.fragmented_clusters += fragments_.add({offset, offset + (count << g_.cluster_bits)});
}

void TableScan::finish() {
  if (active_) totals_.fragmented_clusters += scan_.fragments.add_table(fragments_, group_.begin == 0);
  scan_.totals += totals_;
  if (!table_.l2.empty()) {
    figures_.l2.unused = group_.end - group_.begin - figures_.l2.unaligned - figures_.l2.invalid - figures_.l2.used -
                         figures_.zero_allocated - figures_.zero_plain - figures_.compressed;
    for (const image::L1Entry& e : table_.entries) scan_.reports[e.state] += figures_;
  }
  if (table_.visit == image::Visit::first) return;
  RepeatedVisit visit{table_.key, {}, references(), {}};
  if (recorded_) {
    recorded_->totals = totals_;
    recorded_->figures = figures_;
    recorded_->fragments = fragments_;
    visit.recorded = std::move(recorded_);
  } else {
    for (const image::L1Entry& e : table_.entries) visit.states.push_back(e.state);
  }
  scan_.repeated.push_back(std::move(visit));
}

}  // namespace qd::check
