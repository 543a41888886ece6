#include "image/lookup.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

#include "base/text.h"

namespace qd::image {

const State* find_state(std::span<const State> states, std::int32_t snapshot) {
  const auto found = std::ranges::lower_bound(states, snapshot, {}, &State::snapshot);
  return found == states.end() || found->snapshot != snapshot ? nullptr : &*found;
}

namespace {

using Numbers = std::vector<std::size_t>;

std::string list(const Image& image, const Numbers& numbers) {
  constexpr std::size_t most = 16;
  std::string text;
  for (std::size_t i = 0; i < numbers.size() && i < most; ++i) {
    const format::Snapshot& s = image.snapshots.entries[numbers[i]];
    text +=
        fmt::format("{}snapshot[{}] {} (\"{}\")", i == 0 ? "" : ", ", numbers[i], beginning(s.id), beginning(s.name));
  }
  if (numbers.size() > most) text += fmt::format(" and {} more", numbers.size() - most);
  return text;
}

// "snapshot[N]" is a place in the table, whatever the snapshots are called.
std::optional<std::uint64_t> table_place(std::string_view text) {
  constexpr std::string_view open = "snapshot[";
  if (!text.starts_with(open) || !text.ends_with(']')) return std::nullopt;
  const char* const first = text.data() + open.size();
  const char* const last = text.data() + text.size() - 1;
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(first, last, number);
  if (parsed.ec != std::errc() || parsed.ptr != last) return std::nullopt;
  return number;
}

}  // namespace

Result<std::size_t> find_snapshot(const Image& image, const std::string& wanted) {
  const auto& entries = image.snapshots.entries;
  Numbers everyone, by_id, by_name;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    everyone.push_back(i);
    if (entries[i].id == wanted) by_id.push_back(i);
    if (entries[i].name == wanted) by_name.push_back(i);
  }
  if (const auto place = table_place(wanted); place && *place < entries.size()) return *place;
  const Numbers& found = by_id.empty() ? by_name : by_id;
  if (found.size() == 1) return found.front();
  if (found.size() > 1) {
    return fail(EINVAL, fmt::format("several snapshots are called \"{}\": {}; say which with snapshot[N]", wanted,
                                    list(image, found)));
  }
  return fail(EINVAL, fmt::format("no snapshot is called \"{}\"; the image has {}", wanted,
                                  entries.empty() ? "none" : list(image, everyone)));
}

Result<std::uint64_t> read_word(const File& file, HostOffset at) {
  be64 word;
  if (auto read = file.read(at.value, std::as_writable_bytes(std::span(&word, 1))); !read) {
    return tl::unexpected(read.error());
  }
  return word.get();
}

Result<HostOffset> l2_table_of(const Image& image, const State& state, std::uint64_t l1_index) {
  const auto entry = read_word(image.file(), l1_entry_at(state, l1_index));
  if (!entry) return tl::unexpected(entry.error());
  return HostOffset(*entry & format::offset_mask);
}

Result<L2Entry> read_l2_entry(const Image& image, HostOffset l2_table, std::uint64_t l2_index) {
  const auto words = read_words(image.file(), l2_entry_at(image, l2_table, l2_index), image.geometry->l2_words());
  if (!words) return tl::unexpected(words.error());
  return L2Entry{words->front(), image.geometry->extended_l2 ? words->back() : 0};
}

}  // namespace qd::image
