// L1 and L2 entries with a bit that mustn't be there. Such a bit is cleared if the entry is right without it: if its
// offset is possible and nobody else owns the cluster. If more is wrong, the entry is garbage, and stays as it is.
#include <fmt/core.h>

#include <algorithm>

#include "repair/steps.h"

namespace qd::repair {
namespace {

using check::Code;

constexpr std::uint64_t bit(Code code) {
  switch (code) {
    case Code::l2_reserved:
      return format::l2_reserved_mask;
    case Code::l2_zero_v2:
    case Code::l2_zero_extended:
      return format::zero_flag;
    case Code::compressed_copied:
      return format::copied_flag;
    default:
      return 0;
  }
}

// Writing there would make the file longer, and hide that the rest of the table is lost.
bool cut_off(const Work& w, HostOffset entry) { return entry.value + sizeof(be64) > w.view.image().file().size(); }

std::string whose(std::int32_t state) { return state < 0 ? "" : fmt::format(" of snapshot[{}]", state); }

// An empty table reads like any other zeros, but its refcount says that it is in use.
bool was_table(Work& w, HostOffset table) {
  const image::TableLook& look = w.doubts.l2_look(table);
  const ClusterIndex cluster = w.view.geometry().cluster(table);
  return look.speaks_for_itself() ||
         (look.used == 0 && w.view.refcounts().get(cluster) >= w.view.result().references(cluster));
}

void mend_l1_entry(Work& w, const check::Finding& f, std::uint32_t index) {
  const auto at = w.view.l1_entry(f.state, index);
  if (!at || w.doubts.dubious(f.state) || !w.doubts.undisputed(*at) || cut_off(w, *at)) return;
  const image::State& state = *w.view.state(f.state);
  if (!w.doubts.l1_look(f.state).is_table()) {
    return w.editor.refuse(f.code, fmt::format("the L1 table at 0x{:x}{} stays as it is: it holds something else",
                                               state.l1_offset.value, whose(f.state)));
  }
  const std::uint64_t raw = w.view.read64(*at), mended = raw & ~format::l1_reserved_mask;
  const HostOffset table(mended & format::offset_mask);
  const std::string name = fmt::format("L1 entry {}{}", index, whose(f.state));
  if (table.value == 0) {
    // Its flags may be the only trace of a table that was here, unless every reference is accounted for. And behind the
    // disk's end, a wrong l1_size may have made L1 entries of somebody else's words.
    const bool behind = index >= w.view.geometry().l1_entries_for(state.disk_size);
    if (w.view.count(Code::refcount_leak) > 0 || w.view.refcounts_hidden() || behind) {
      return w.editor.refuse(f.code,
                             fmt::format("{} (0x{:016x}) stays as it is: the L2 table that it has named may be among "
                                         "the leaked clusters",
                                         name, raw));
    }
    return w.editor.put64(Stage::point, *at, 0, f.code, name + ": zeroed, it names no L2 table");
  }
  if (w.view.geometry().offset_in_cluster(table.value) != 0 || !w.doubts.undisputed(table) || !was_table(w, table)) {
    return w.editor.refuse(
        f.code, fmt::format("{} (0x{:016x}) stays as it is: without the reserved bits, too, it names nothing "
                            "that could be its L2 table",
                            name, raw));
  }
  w.editor.put64(Stage::point, *at, mended, f.code, name + ": reserved bits cleared");
}

bool plausible(const Work& w, const check::Finding& f, std::uint32_t index, std::uint64_t entry) {
  if (!image::possible_l2_entry(w.view.image(), entry)) return false;
  const HostOffset data(entry & format::offset_mask);
  if ((entry & format::compressed_flag) || data.value == 0) return true;
  if (w.view.geometry().data_file) return data.value == w.view.geometry().guest(*f.l1_index, index).value;
  return w.doubts.undisputed(data);
}

// In an entry with COPIED and COMPRESSED, one of the two is wrong. Without COMPRESSED, an entry of compressed data
// seldom makes a normal one: its length lies in reserved bits, and its offset is seldom aligned.
bool may_be_normal(const Work& w, std::uint64_t entry) {
  const std::uint64_t normal = entry & ~format::compressed_flag;
  return (normal & format::l2_reserved_mask) == 0 &&
         image::possible_place(w.view.image(), HostOffset(normal & format::offset_mask));
}

void mend_l2_entry(Work& w, const check::Finding& f, std::uint32_t index) {
  const auto table = w.doubts.l2_table(f.state, *f.l1_index);
  if (!table || !w.doubts.undisputed(*table)) return;
  if (!w.doubts.l2_look(*table).is_table()) {
    return w.editor.refuse(f.code,
                           fmt::format("the L2 table at 0x{:x} (L1 entry {}{}) stays as it is: it holds something else",
                                       table->value, *f.l1_index, whose(f.state)));
  }
  const HostOffset at = w.view.l2_entry(*table, index);
  if (cut_off(w, at)) return;
  const std::string name = fmt::format("L2 entry {} of L1 entry {}{}", index, *f.l1_index, whose(f.state));
  if (f.code == Code::compressed_bitmap) {
    return w.editor.put64(Stage::point, at + 8, 0, f.code, name + ": subcluster bitmap of compressed data cleared");
  }
  const std::uint64_t raw = w.view.read64(at), mended = raw & ~bit(f.code);
  if (f.code == Code::compressed_copied && may_be_normal(w, raw)) {
    return w.editor.refuse(
        f.code, fmt::format("{} (0x{:016x}) stays as it is: without bit 62 it is an entry of data that isn't "
                            "compressed, at 0x{:x}, and COPIED speaks for that",
                            name, raw, raw & format::offset_mask));
  }
  if (!plausible(w, f, index, mended)) {
    return w.editor.refuse(f.code, fmt::format("{} (0x{:016x}) stays as it is: its offset is wrong, too", name, raw));
  }
  w.editor.put64(Stage::point, at, mended, f.code,
                 name + (f.code == Code::compressed_copied ? ": COPIED cleared, the data is compressed"
                         : f.code == Code::l2_reserved     ? ": reserved bits cleared"
                                                           : ": zero flag cleared, it doesn't exist here"));
}

}  // namespace

void mend_entries(Work& w) {
  for (const check::Finding& f : w.view.result().findings.list()) {
    const bool l1 = f.code == Code::l1_reserved || f.code == Code::l1_no_offset;
    if ((!l1 && bit(f.code) == 0 && f.code != Code::compressed_bitmap) || !f.l1_index || (!l1 && !f.l2_index)) continue;
    for (std::uint32_t i = 0; i < f.count && !w.view.failed(); ++i) {
      l1 ? mend_l1_entry(w, f, *f.l1_index + i) : mend_l2_entry(w, f, *f.l2_index + i);
    }
  }
}

}  // namespace qd::repair
