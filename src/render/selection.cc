#include "render/selection.h"

#include <fmt/core.h>

#include <cerrno>
#include <charconv>
#include <optional>

#include "words/escape.h"

namespace qd::render {
namespace {

using Numbers = std::vector<std::size_t>;

std::string list(const image::Image& image, const Numbers& numbers) {
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

Result<std::size_t> find_snapshot(const image::Image& image, const std::string& wanted) {
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

Result<Selection> select(const image::Image& image, const std::string& output, const std::string& snapshot) {
  Selection selection;
  if (output != "refcount" && output != "snapshot" && output != "all") {
    return fail(EINVAL, fmt::format("-o knows refcount, snapshot and all, but not \"{}\"", output));
  }
  selection.refcounts = output != "snapshot";
  selection.mapping = output != "refcount";

  if (snapshot == "all") return selection;
  selection.active = snapshot == "active";
  selection.inactive = !selection.active;
  if (snapshot == "active" || snapshot == "inactive") return selection;
  const auto number = find_snapshot(image, snapshot);
  if (!number) return tl::make_unexpected(number.error());
  selection.only_snapshot = static_cast<int>(*number);
  return selection;
}

}  // namespace qd::render
