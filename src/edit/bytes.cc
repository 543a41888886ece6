// -m edit and -m copy: bytes are written where a person says. Nothing else is changed to fit them; the check that
// follows tells what they did.
#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "base/number.h"
#include "base/text.h"
#include "edit/commands.h"
#include "edit/place.h"
#include "repair/snapshot_table.h"
#include "repair/steps.h"

namespace qd::edit {
namespace {

using repair::Work;

// A slip of the finger must not make a file of terabytes.
Result<void> require_within(const Work& w, HostOffset at, std::uint64_t bytes) {
  const std::uint64_t size = w.view.image().file().size();
  const auto end = checked_add(at.value, bytes);
  if (w.wanted.force ? end.has_value() : end && at.value <= size) return {};
  return refused(
      fmt::format("0x{:x} lies past the end of the file (0x{:x}). --force makes the file longer", at.value, size));
}

// The value, as wide as the place. `~` inverts all of its bits.
Result<std::uint64_t> parse_value(const std::string& text, unsigned bits) {
  const std::uint64_t most = bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
  const bool inverted = text.starts_with('~');
  const auto number = parse_number(std::string_view(text).substr(inverted));
  if (!number) {
    return fail(EINVAL, fmt::format("-V {}: a number is wanted, decimal or 0x..., perhaps with ~ in front", text));
  }
  if (*number > most) {
    return fail(EINVAL, fmt::format("-V {}: {} bits hold no more than 0x{:x}", text, bits, most));
  }
  return inverted ? ~*number & most : *number;
}

std::uint64_t load(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (const std::byte byte : bytes) value = value << 8 | static_cast<std::uint64_t>(byte);
  return value;
}

void store(std::span<std::byte> bytes, std::uint64_t value) {
  for (std::size_t i = bytes.size(); i-- > 0; value >>= 8) bytes[i] = static_cast<std::byte>(value);
}

// Texts have no fixed length: the table is written anew.
Result<void> set_text(Work& w, const BytePlace& place, const std::string& text) {
  constexpr std::size_t longest = 255;  // that QEMU shows
  const image::SnapshotTable& table = w.view.image().snapshots;
  const bool id = place.kind == PlaceKind::snapshot_id;
  if (text.empty() || text.size() > longest) {
    return fail(EINVAL, fmt::format("-V: a text of 1 to {} bytes is wanted", longest));
  }
  if (auto sound = require_sound_tables(w, false); !sound) return sound;
  if (auto whole = require_whole_snapshot_table(w); !whole) return whole;
  const auto& texts = table.entries;
  const auto same = [&](const format::Snapshot& s) { return (id ? s.id : s.name) == text; };
  if (const auto twin = std::ranges::find_if(texts, same); twin != texts.end()) {
    if (static_cast<std::size_t>(twin - texts.begin()) == place.snapshot) return {};
    return fail(EINVAL,
                fmt::format("{} has that {} already", snapshot_text(w, static_cast<std::size_t>(twin - texts.begin())),
                            id ? "ID" : "name"));
  }
  std::vector<repair::SnapshotEntry> entries;
  for (const format::Snapshot& s : table.entries) entries.push_back(repair::read_snapshot(w, s));
  const std::string old = std::exchange(id ? entries[place.snapshot].id : entries[place.snapshot].name, text);
  act(w, texts[place.snapshot].at, texts[place.snapshot].bytes,
      fmt::format("{}: \"{}\" becomes \"{}\"", place.name, beginning(old), beginning(text)));
  w.leaks.let_go_since(w.view.result());
  if (repair::write_snapshots(w, entries) && w.look()) settle_refcounts(w);
  repair::clear_unknown_features(w);
  return {};
}

std::string described(const Work& w, const BytePlace& place, std::uint64_t before, std::uint64_t after) {
  return fmt::format("{}: {}; becomes {}", place.name.empty() ? fmt::format("0x{:x}", place.at.value) : place.name,
                     meaning(w.view.image(), place, before), meaning(w.view.image(), place, after));
}

Result<void> set_number(Work& w, const BytePlace& place, const std::string& text) {
  if (auto within = require_within(w, place.at, place.bytes); !within) return within;
  const auto value = parse_value(text, place.bits);
  if (!value) return tl::unexpected(value.error());
  std::vector<std::byte> bytes = w.view.read(place.at, place.bytes);
  const std::uint64_t whole = load(bytes),
                      mask = (place.bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << place.bits) - 1);
  const std::uint64_t before = whole >> place.shift & mask;
  if (before == *value && place.at.value + place.bytes <= w.view.image().file().size()) return {};
  store(bytes, (whole & ~(mask << place.shift)) | *value << place.shift);
  w.editor.write(Stage::point, place.at, bytes);
  const unsigned digits = std::max(1u, place.bits / 4);
  act(w, place.at, place.bytes, described(w, place, before, *value), fmt::format("{:0{}x}", before, digits),
      fmt::format("{:0{}x}", *value, digits));
  return {};
}

// Where the bytes come from. A donor is an image as well: its places have names, too. The hint is for the image, and
// for a donor whose header tells nothing.
Result<HostOffset> source_place(const Work& w, const std::string& text, const File* source) {
  const Transaction nothing(source ? *source : w.view.base());
  const image::Hints& hints = w.view.image().hints();
  auto image = image::Image::open(nothing.view(), source ? image::Hints() : hints);
  if (image && source && !image->geometry) image = image::Image::open(nothing.view(), hints);
  if (!image) return tl::unexpected(image.error());
  const auto place = find_place(*image, text);
  if (!place) return tl::unexpected(place.error());
  return place->at;
}

}  // namespace

Result<void> perform(Work& w, const SetValue& set) {
  auto place = find_place(w.view.image(), set.place);
  if (!place) return tl::unexpected(place.error());
  if (place->kind == PlaceKind::snapshot_id || place->kind == PlaceKind::snapshot_name) {
    if (set.width) return fail(EINVAL, "-w goes with numbers, and this is a text");
    return set_text(w, *place, set.value);
  }
  const bool plain = place->name.empty();
  if (plain) *place = recognise(w.view.image(), place->at, set.width.value_or(8));
  if (!plain && set.width && *set.width != place->bytes) {
    return fail(EINVAL, fmt::format("{} has {} bytes; leave -w out", place->name, place->bytes));
  }
  return set_number(w, *place, set.value);
}

Result<void> perform(Work& w, const CopyBytes& copy, const File* source) {
  const auto to = find_place(w.view.image(), copy.to);
  if (!to) return tl::unexpected(to.error());
  const auto from = source_place(w, copy.from, source);
  if (!from) return tl::unexpected(from.error());
  const File& file = source ? *source : w.view.base();
  const auto end = checked_add(from->value, copy.bytes);
  if (copy.bytes == 0 || !end || *end > file.size()) {
    return fail(EINVAL, fmt::format("{} ends at 0x{:x}: there are no {} bytes at 0x{:x}; nothing was changed",
                                    file.path(), file.size(), copy.bytes, from->value));
  }
  if (auto within = require_within(w, to->at, copy.bytes); !within) return within;
  w.editor.copy_from(Stage::point, to->at, file, *from, copy.bytes);
  act(w, to->at, copy.bytes,
      fmt::format("{} bytes from 0x{:x} of {}", copy.bytes, from->value, source ? copy.file : "the image itself"));
  return {};
}

}  // namespace qd::edit
