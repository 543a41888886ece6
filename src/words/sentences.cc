#include "words/sentences.h"

#include <fmt/args.h>
#include <fmt/core.h>

#include <optional>
#include <string_view>

namespace qd {
namespace {

std::string whose(const check::Finding& f, const std::vector<std::string>& snapshots) {
  if (f.state < 0) return {};
  const auto number = static_cast<std::size_t>(f.state);
  return fmt::format(" of snapshot {}", number < snapshots.size() ? snapshots[number] : std::to_string(number));
}

std::string where(const check::Finding& f, const std::vector<std::string>& snapshots) {
  std::string place = f.l1_index ? fmt::format("L1 entry {}", *f.l1_index) : "";
  if (f.l2_index) place += fmt::format(", L2 entry {}", *f.l2_index);
  return place + whose(f, snapshots);
}

std::string range_suffix(const check::Finding& f, std::uint64_t cluster_size) {
  if (f.count < 2) return {};
  if (f.index && f.host && check::problem(f.code).subject == check::Subject::refcounts) {
    return fmt::format("; the same for {} clusters in a row, up to 0x{:x}", f.count,
                       f.host->value + f.count * cluster_size);
  }
  return fmt::format("; {} in a row", f.count);
}

}  // namespace

std::string Sentences::operator()(const check::Finding& f) const {
  const auto hex = [](std::optional<std::uint64_t> v) { return fmt::format("0x{:x}", v.value_or(0)); };
  fmt::dynamic_format_arg_store<fmt::format_context> args;
  args.push_back(fmt::arg("where", where(f, names_)));
  args.push_back(fmt::arg("host", hex(f.host ? std::optional(f.host->value) : std::nullopt)));
  args.push_back(fmt::arg("guest", hex(f.guest ? std::optional(f.guest->value) : std::nullopt)));
  args.push_back(fmt::arg("found", hex(f.found)));
  args.push_back(fmt::arg("expected", hex(f.expected)));
  args.push_back(fmt::arg("found_n", f.found.value_or(0)));
  args.push_back(fmt::arg("expected_n", f.expected.value_or(0)));
  args.push_back(fmt::arg("index", f.index.value_or(0)));
  args.push_back(fmt::arg("detail", f.detail));
  const std::string_view pattern = check::problem(f.code).sentence;
  return fmt::vformat(fmt::string_view(pattern.data(), pattern.size()), args) + range_suffix(f, cluster_size_);
}

}  // namespace qd
