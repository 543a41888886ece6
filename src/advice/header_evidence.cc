// A field of the header, from what the other fields lead to. Candidates come from the file; each is tried, and counts
// only if the tables then fit. If several fit, one of them must leave fewer clusters unexplained than all others.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "advice/evidence.h"
#include "advice/orphans.h"
#include "advice/search.h"
#include "base/checked.h"
#include "base/number.h"
#include "base/uniform.h"

namespace qd::advice {
namespace {

using check::Code;
using check::Doubt;
namespace field = format::field;

std::string place_of(const format::HeaderField& f) { return fmt::format("header.{}", f.name); }

class HeaderFinder {
 public:
  explicit HeaderFinder(Clues& clues)
      : clues_(clues),
        image_(clues.image),
        result_(clues.result),
        trial_(clues.trial),
        h_(clues.image.header),
        damaged_(errors(clues.result) > 0) {}
  std::optional<Evidence> find();

 private:
  std::uint64_t count(Code code) const { return result_.findings.count(code); }
  bool garbage() const;
  bool empty_from(std::uint64_t at) const;
  using Values = std::vector<std::uint64_t>;
  enum class Wanted { sound, better };
  std::optional<Evidence> only(const format::HeaderField& field, const Values& values, Code gone, Wanted wanted,
                               std::string why);

  std::optional<Evidence> magic();
  std::optional<Evidence> version();
  std::optional<Evidence> cluster_bits();
  std::optional<Evidence> refcount_order();
  std::optional<Evidence> features();
  std::optional<Evidence> length();
  std::optional<Evidence> crypt_method();
  std::optional<Evidence> backing_name();
  std::optional<Evidence> l1_offset();
  std::optional<Evidence> refcount_table();
  std::optional<Evidence> size();
  std::optional<Evidence> l1_size();
  std::optional<Evidence> snapshots();
  std::optional<Evidence> before_growth();
  std::optional<Evidence> cut_by_size();
  std::optional<Evidence> whole();
  std::optional<Evidence> first_of(const Fewest<std::vector<Change>>& best, std::string why) const;

  Clues& clues_;
  const image::Image& image_;
  const check::Report& result_;
  Trial& trial_;
  const format::Header& h_;
  const bool damaged_;
};

// Do the tables perhaps have another meaning than they are read with? Then more is wrong than COPIED flags and clusters
// used twice.
bool HeaderFinder::garbage() const {
  const std::uint64_t sound = result_.findings.errors(check::Subject::copied) + count(Code::cluster_reuse);
  return errors(result_) > sound || (sound == 0 && result_.leak_doubt.data_at_risk());
}

std::optional<Evidence> HeaderFinder::only(const format::HeaderField& field, const Values& values, Code gone,
                                           Wanted wanted, std::string why) {
  Fewest<std::uint64_t> best;
  for (const std::uint64_t value : values) {
    if (value == field.value(h_)) continue;
    const Change change = header_field(field, value);
    const auto then = trial_.with(std::span(&change, 1));
    if (!then || then->result.findings.count(gone) > 0) continue;
    if (!(wanted == Wanted::sound ? Trial::sound(then->result, result_) : trial_.better(then->result))) continue;
    if (field == field::l1_table_offset && then->abandons(HostOffset(h_.l1_table_offset))) continue;
    best.add(value, errors(then->result) + then->leaks());
  }
  const auto alone = best.alone();
  return alone ? std::optional(Evidence{place_of(field), *alone, std::move(why)}) : std::nullopt;
}

std::optional<Evidence> HeaderFinder::magic() {
  if (count(Code::header_magic) == 0 || !image_.geometry) return std::nullopt;
  return only(field::magic, {format::magic}, Code::header_magic, Wanted::sound,
              "All that the header leads to is what a qcow2 image has, and its refcounts fit.");
}

std::optional<Evidence> HeaderFinder::version() {
  constexpr std::uint32_t order_of_version_2 = 4;  // 16 bits: what fits as version 3 may be that
  if (h_.version == 3 && count(Code::header_length) > 0 && h_.refcount_order != order_of_version_2) {
    return only(field::version, {2}, Code::header_length, Wanted::sound,
                "Where version 3 has its fields nothing makes sense, and without them tables and refcounts fit.");
  }
  if (count(Code::header_version) == 0) return std::nullopt;
  // Where version 3 has its fields, version 2 has a file name, extensions or zeros.
  const bool third = h_.refcount_order <= 6 && h_.header_length >= format::header_bytes_v3 && h_.header_length <= 512 &&
                     h_.header_length % 8 == 0;
  return only(field::version, {third ? 3u : 2u}, Code::header_version, Wanted::sound,
              third ? "The fields that only version 3 has make sense." : "There are no fields of version 3.");
}

std::optional<Evidence> HeaderFinder::cluster_bits() {
  if (count(Code::header_cluster_bits) == 0 && !garbage()) return std::nullopt;
  Values values;
  for (unsigned bits = 9; bits <= 21; ++bits) {
    if (plausible_refcounts(image_, {bits, h_.refcount_order, h_.refcount_table_offset}, h_.l1_table_offset)) {
      values.push_back(bits);
    }
  }
  return only(field::cluster_bits, values, Code::header_cluster_bits, Wanted::sound,
              "With this cluster size, and with no other, tables and refcounts fit.");
}

std::optional<Evidence> HeaderFinder::refcount_order() {
  if (count(Code::header_refcount_order) == 0 && count(Code::refcount_low) == 0) return std::nullopt;
  if (h_.version == 2 || !image_.geometry) return std::nullopt;
  Values values;
  for (unsigned order = 0; order <= 6; ++order) {
    const Measure measure{image_.geometry->cluster_bits, order, h_.refcount_table_offset};
    if (plausible_refcounts(image_, measure, h_.l1_table_offset)) values.push_back(order);
  }
  return only(field::refcount_order, values, Code::header_refcount_order, Wanted::sound,
              "With refcounts of this width, and of no other, they fit the tables.");
}

// An unknown bit that the image itself names belongs to a program of the future.
std::optional<Evidence> HeaderFinder::features() {
  namespace bit = format::incompatible;
  if (h_.version == 2 || (count(Code::header_incompatible) == 0 && !garbage())) return std::nullopt;
  const std::uint64_t unknown = h_.incompatible_features & ~bit::known, known = h_.incompatible_features & bit::known;
  for (std::uint64_t bits = unknown; bits != 0; bits &= bits - 1) {
    const auto number = static_cast<unsigned>(std::countr_zero(bits));
    if (!image_.feature_name(format::FeatureKind::incompatible, number).empty()) return std::nullopt;
  }
  Values values;
  if (unknown != 0) values.push_back(known);
  if (garbage()) values.insert(values.end(), {known ^ bit::extended_l2, known ^ bit::data_file});
  // Where unknown bits are set by accident, known ones may be, too.
  if (unknown != 0 && garbage()) {
    constexpr std::uint64_t meaning = bit::extended_l2 | bit::data_file | bit::compression;
    for (std::uint64_t clear = meaning; clear != 0; clear = (clear - 1) & meaning) values.push_back(known & ~clear);
    std::ranges::sort(values);
    values.erase(std::unique(values.begin(), values.end()), values.end());
  }
  return only(field::incompatible_features, values, Code::header_incompatible, Wanted::sound,
              unknown != 0 ? "Nothing in the image uses an unknown feature, and the image doesn't name one."
                           : "With these features tables and refcounts fit, with those that are set now they don't.");
}

std::optional<Evidence> HeaderFinder::length() {
  // With a wrong header length, the extensions are read from a wrong place.
  const Code gone = count(Code::header_length) > 0 ? Code::header_length : Code::header_extension;
  if (count(gone) == 0 || h_.version == 2) return std::nullopt;
  const auto words = read_words(image_, HostOffset(format::header_bytes_v3), 1);
  const bool longer = !words.empty() && (words[0] & ~(std::uint64_t{1} << 56)) == 0;  // the compression type, padding
  return only(field::header_length, {longer ? format::header_bytes_known : format::header_bytes_v3}, gone,
              Wanted::sound, "There the header's extensions begin.");
}

// A LUKS header tells that the method is LUKS. Without one, readable data tells that there is no encryption.
std::optional<Evidence> HeaderFinder::crypt_method() {
  constexpr std::uint32_t none = 0, luks = 2;
  if (count(Code::header_crypt) == 0 || result_.states.empty()) return std::nullopt;
  if (image_.crypt)
    return only(field::crypt_method, {luks}, Code::header_crypt, Wanted::better, "There is a LUKS header.");
  if (!plainly_readable(image_, result_)) return std::nullopt;
  return only(field::crypt_method, {none}, Code::header_crypt, Wanted::better,
              "There is no LUKS header, and some of the data is plainly not encrypted.");
}

// Writers put the name behind the end marker of the extensions, and zeros behind the name.
std::optional<Evidence> HeaderFinder::backing_name() {
  if (count(Code::header_backing_name) == 0) return std::nullopt;
  std::vector<std::byte> first(image_.geometry->cluster_size());
  if (h_.header_length >= first.size() || !image_.file().read(0, first)) return std::nullopt;
  const format::Extensions all = format::parse_extensions(first, h_.header_length, first.size());
  const std::uint64_t place = all.end + 8;
  if (all.truncated || all.bad_end || place >= first.size()) return std::nullopt;
  const auto at = first.begin() + static_cast<std::ptrdiff_t>(place);
  const auto is_text = [](std::byte b) { return b >= std::byte{0x20} && b != std::byte{0x7f}; };
  const auto bytes = static_cast<std::uint64_t>(std::find_if_not(at, first.end(), is_text) - at);
  if (bytes == 0 && h_.backing_file_size == 0 && !image_.backing_format && empty_from(place)) {
    return only(field::backing_file_offset, {0}, Code::header_backing_name, Wanted::better,
                "The header has no backing file's format and no length of its name, and there is no name.");
  }
  if (bytes == 0 || bytes > format::max_backing_name_bytes) return std::nullopt;
  const bool offset = h_.backing_file_offset != place;
  if (offset && h_.backing_file_size != bytes) return std::nullopt;
  return only(offset ? field::backing_file_offset : field::backing_file_size, {offset ? place : bytes},
              Code::header_backing_name, Wanted::better, "Behind the header's extensions there is a name.");
}

std::optional<Evidence> HeaderFinder::l1_offset() {
  if (!result_.claims || !image_.refcounts_readable) return std::nullopt;
  const bool lost = count(Code::header_l1_offset) > 0 || count(Code::refcount_leak) > 0;
  // While snapshots can't be read, an orphaned table may be theirs.
  if (!lost || (count(Code::header_l1_offset) == 0 && check::snapshots_unread(result_))) return std::nullopt;
  return only(field::l1_table_offset, orphan_l1_tables(image_, result_, clues_.orphans(), h_.l1_size),
              Code::header_l1_offset, Wanted::better,
              "What lies there reads as an L1 table, and what its entries name is named by nothing else.");
}

std::optional<Evidence> HeaderFinder::refcount_table() {
  if (!result_.claims) return std::nullopt;
  using enum Code;
  if (!result_.findings.any(Doubt::refcounts) && count(refcount_low) == 0) return std::nullopt;
  const std::uint64_t now = h_.refcount_table_clusters,
                      most = format::max_reftable_bytes >> image_.geometry->cluster_bits;
  if (auto found =
          only(field::refcount_table_offset, refcount_tables(image_, result_), header_refcount_table, Wanted::sound,
               "What lies there reads as a refcount table, and its refcounts fit the tables.")) {
    return found;
  }
  if (now > 0 && now <= most && count(header_refcount_table) == 0) return std::nullopt;
  Values values;
  for (std::uint64_t n = 1; n <= std::min<std::uint64_t>(most, 64); n *= 2) values.push_back(n);
  return only(field::refcount_table_clusters, values, header_refcount_table, Wanted::sound,
              "So long a table fits between what lies around it.");
}

// Besides the header, only snapshots record the virtual size: those of the same size tell it.
std::optional<Evidence> HeaderFinder::size() {
  if (!image_.geometry || !result_.claims) return std::nullopt;
  const format::Geometry& g = *image_.geometry;
  const bool impossible = count(Code::header_virtual_size) > 0, short_l1 = count(Code::header_l1_size) > 0;
  if (!result_.findings.any(Doubt::virtual_size)) return std::nullopt;
  Values values;
  for (const format::Snapshot& s : image_.snapshots.entries) {
    if (s.extra_data_size < 16 || s.l1_size != h_.l1_size || s.disk_size == 0) continue;
    if (std::ranges::find(values, s.disk_size) == values.end()) values.push_back(s.disk_size);
  }
  const bool is_recorded = std::ranges::find(values, h_.size) != values.end();
  if (values.size() == 1 && !is_recorded) {
    const auto then = trial_.with(std::array{header_field(field::size, values[0])});
    if (then && !then->result.findings.any(Doubt::virtual_size)) {
      // Or the L1 table was longer, and the leaked clusters are the disk's end.
      if (!impossible && then->result.leak_doubt.data_at_risk()) return l1_size();
      return Evidence{place_of(field::size), values[0],
                      "The snapshot table records this size for an L1 table as long as the active one."};
    }
  }
  // A disk that is too long loses nothing, one that is too short does.
  const std::uint64_t room = l1_room(image_, result_), needed = g.l1_entries_for(h_.size);
  if (!(impossible || (short_l1 && needed > room)) || is_recorded || h_.l1_size == 0 || h_.l1_size > room) {
    return std::nullopt;
  }
  return only(field::size, {std::uint64_t{h_.l1_size} * g.bytes_per_l2()},
              impossible ? Code::header_virtual_size : Code::header_l1_size, Wanted::better,
              "The disk's size is recorded nowhere else. This is all that the L1 table can map: nothing of the guest's "
              "is cut off, and what the disk is too long reads as zeros.");
}

std::optional<Evidence> HeaderFinder::l1_size() {
  if (!image_.geometry || !result_.claims || !damaged_) return std::nullopt;
  const std::uint64_t needed = image_.geometry->l1_entries_for(h_.size);
  if (needed > l1_room(image_, result_)) return std::nullopt;
  const bool possible = !result_.findings.any(Doubt::l1_table) && count(Code::l1_truncated) == 0;
  if (possible && (h_.l1_size <= needed || l1_goes_on(image_, HostOffset(h_.l1_table_offset), h_.l1_size, needed)))
    return std::nullopt;
  return only(field::l1_size, {needed}, Code::header_l1_size, Wanted::better,
              fmt::format("A disk of {} bytes needs so many entries, and there is room for them.", h_.size));
}

// Are there only zeros up to the end of the cluster?
bool HeaderFinder::empty_from(std::uint64_t at) const {
  const std::uint64_t end = round_up(at + 1, image_.geometry->cluster_size());
  std::vector<std::byte> bytes(end - at);
  return image_.file().read(at, bytes) && all_zero(bytes);
}

std::optional<Evidence> HeaderFinder::snapshots() {
  if (!image_.geometry || !result_.claims || h_.refcount_order > 6) return std::nullopt;
  if (!result_.findings.any(Doubt::snapshot_table) && count(Code::refcount_leak) == 0) return std::nullopt;
  const auto [there, bytes] = image::snapshot_entries_at(image_, h_.snapshots_offset);
  // If there are fewer entries than the header says, nothing may follow them: it could be what is left of others.
  if (there > h_.nb_snapshots || (there > 0 && there < h_.nb_snapshots && empty_from(h_.snapshots_offset + bytes))) {
    if (auto found = only(field::nb_snapshots, {there}, Code::snapshot_table, Wanted::better,
                          "So many entries lie where the header says that the snapshot table is.")) {
      return found;
    }
  }
  if (there > 0) return std::nullopt;
  Values values;
  for (const ClusterIndex cluster : clues_.orphans().others) {
    const std::uint64_t at = image_.geometry->offset(cluster).value,
                        entries = image::snapshot_entries_at(image_, at).count;
    if (entries > 0 && (entries == h_.nb_snapshots || h_.nb_snapshots == 0)) values.push_back(at);
  }
  if (values.size() != 1) return std::nullopt;
  const std::uint64_t number = image::snapshot_entries_at(image_, values[0]).count;
  const auto then = trial_.with(
      std::array{header_field(field::snapshots_offset, values[0]), header_field(field::nb_snapshots, number)});
  if (!then || !trial_.better(then->result)) return std::nullopt;
  return Evidence{place_of(field::snapshots_offset), values[0],
                  fmt::format("What lies there reads as a snapshot table of {}, and nothing names it.",
                              counted(number, "entry", "entries"))};
}

// Nothing of the header is left: all fields are tried at once. They are told one after the other, the magic last.
std::optional<Evidence> HeaderFinder::whole() {
  Fewest<std::vector<Change>> best;
  for (const LostHeader& lost : lost_headers(image_)) {
    const std::uint64_t per_l2 = 1ULL << (2 * lost.cluster_bits - 3);
    const bool size_fits = h_.size > 0 && divide_up(h_.size, per_l2) == lost.l1_entries;
    const std::vector<Change> changes{header_field(field::version, 3),
                                      header_field(field::cluster_bits, lost.cluster_bits),
                                      header_field(field::refcount_order, lost.refcount_order),
                                      header_field(field::header_length, format::header_bytes_v3),
                                      header_field(field::refcount_table_offset, lost.refcount_table),
                                      header_field(field::refcount_table_clusters, 1),
                                      header_field(field::l1_table_offset, lost.l1_table),
                                      header_field(field::l1_size, lost.l1_entries),
                                      header_field(field::size, size_fits ? h_.size : lost.l1_entries * per_l2),
                                      header_field(field::magic, format::magic)};
    const auto then = trial_.with(changes);
    if (!then || !Trial::sound(then->result, check::Report())) continue;
    best.add(changes, then->leaks());
  }
  return first_of(
      best,
      "The header is gone, but tables and refcounts are there and fit each other: they tell its fields, one "
      "after the other. A size that doesn't fit becomes what the L1 table's entries map: of a longer disk "
      "the end is missing that was never written to. A backing file, if there was one, is for you to name "
      "then, with -m rebase.");
}

// The first of the best changes that the header doesn't have yet.
std::optional<Evidence> HeaderFinder::first_of(const Fewest<std::vector<Change>>& best, std::string why) const {
  for (const Change& change : best.alone().value_or(std::vector<Change>())) {
    for (const format::HeaderField& field : format::header_fields()) {
      if (field.at() != change.at || field.value(h_) == change.value) continue;
      return Evidence{place_of(field), change.value, std::move(why)};
    }
  }
  return std::nullopt;
}

// The header is of an earlier time, when the disk was smaller: the L1 table goes on behind the end that the header
// tells. Its place comes first, then its length. The size may be right all the same.
std::optional<Evidence> HeaderFinder::before_growth() {
  if (!image_.geometry || !result_.claims || !image_.refcounts_readable || !garbage()) return std::nullopt;
  if (count(Code::header_virtual_size) > 0) return std::nullopt;
  const format::Geometry& g = *image_.geometry;
  const std::uint64_t needed = g.l1_entries_for(h_.size);
  std::vector<std::uint64_t> places = orphan_l1_tables(image_, result_, clues_.orphans());
  places.push_back(h_.l1_table_offset);
  Fewest<std::vector<Change>> best;
  for (const std::uint64_t place : places) {
    for (const std::uint64_t entries : l1_sizes(image_, result_, place)) {
      if (entries <= h_.l1_size || (place == h_.l1_table_offset && entries <= needed)) continue;
      const std::vector<Change> changes{
          header_field(field::l1_table_offset, place), header_field(field::l1_size, std::max(entries, needed)),
          header_field(field::size, entries > needed ? entries * g.bytes_per_l2() : h_.size)};
      const auto then = trial_.with(changes);
      if (!then || !trial_.better(then->result) || then->result.leak_doubt.data_at_risk()) continue;
      if (place != h_.l1_table_offset && then->abandons(HostOffset(h_.l1_table_offset))) continue;
      best.add(changes, errors(then->result) + then->leaks());
    }
  }
  return first_of(
      best,
      "Behind the end that the header tells, the L1 table goes on and leads to what nothing else names: the "
      "header is of a time when the disk was smaller.");
}

// The same where only the size is wrong. The data behind the disk's end may also be a VM state whose snapshot was never
// finished: if its clusters are in one row, or begin with the first L1 entry behind the disk.
std::optional<Evidence> HeaderFinder::cut_by_size() {
  if (damaged_ || count(Code::l2_beyond_end) == 0 || !result_.claims) return std::nullopt;
  const format::Geometry& g = *image_.geometry;
  std::optional<GuestOffset> end;
  bool gap = false;
  for (const check::Finding& f : result_.findings.list()) {
    if (f.code != Code::l2_beyond_end || !f.guest || f.state != check::active_state) continue;
    if (!end && f.l1_index == g.l1_entries_for(h_.size) && f.l2_index == 0u) return std::nullopt;
    gap |= end && *end != *f.guest;
    end = GuestOffset(f.guest->value + (f.count << g.cluster_bits));
  }
  if (!gap) return std::nullopt;
  Fewest<std::uint64_t> best;
  for (const std::uint64_t entries : l1_sizes(image_, result_, h_.l1_table_offset)) {
    if (entries > h_.l1_size) break;
    const auto then = trial_.with(std::array{header_field(field::size, entries * g.bytes_per_l2())});
    const bool fits = then && errors(then->result) == 0 && then->result.findings.count(Code::l2_beyond_end) == 0;
    if (fits) best.add(entries * g.bytes_per_l2(), then->leaks());
  }
  if (!best.alone()) return std::nullopt;
  return Evidence{place_of(field::size), *best.alone(),
                  "Data lies behind the disk's end, and no shrinking leaves it there: the disk was larger, at least as "
                  "large as what the L1 table's entries map. What it is too long then reads as zeros."};
}

std::optional<Evidence> HeaderFinder::find() {
  if (!image_.geometry) {
    auto found = cluster_bits();
    return found ? found : whole();
  }
  if (!damaged_ && count(Code::refcount_leak) + count(Code::l2_beyond_end) == 0) return std::nullopt;
  if (count(Code::header_magic) > 0) {
    auto found = magic();
    return found ? found : whole();
  }
  using Finder = std::optional<Evidence> (HeaderFinder::*)();
  // Fields that give the rest its meaning come first.
  for (const Finder finder :
       {&HeaderFinder::cluster_bits, &HeaderFinder::version, &HeaderFinder::features, &HeaderFinder::refcount_order,
        &HeaderFinder::length, &HeaderFinder::crypt_method, &HeaderFinder::backing_name, &HeaderFinder::before_growth,
        &HeaderFinder::size, &HeaderFinder::l1_size, &HeaderFinder::l1_offset, &HeaderFinder::cut_by_size,
        &HeaderFinder::refcount_table, &HeaderFinder::snapshots}) {
    if (auto found = (this->*finder)()) return found;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Evidence> header_evidence(Clues& clues) { return HeaderFinder(clues).find(); }

}  // namespace qd::advice
