// What all passes of one check share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "check/check.h"
#include "check/claims.h"
#include "image/group.h"
#include "image/image.h"
#include "image/refcounts.h"
#include "image/repeats.h"
#include "io/profile.h"

namespace qd::check {

// A piece of metadata that occupies clusters; kept to name it if something else claims them too.
struct MetadataUse {
  OwnerKind kind{};
  HostOffset offset;
  std::uint64_t bytes = 0;
  std::int32_t state = no_state;
  std::uint64_t index = 0;  // of a bitmap
};

struct Context {
  Context(const image::Image& image_, const Settings& options_, Report& result_)
      : image(image_), options(options_), result(result_), profile(options_.profile, image_.file()) {}

  const image::Image& image;
  const Settings& options;
  Report& result;
  const ProfilePart profile;

  std::shared_ptr<const image::Refcounts> refcounts;
  std::shared_ptr<Claims> claims;               // on clusters of the image file
  std::unique_ptr<Claims> data_claims;          // on clusters of the external data file, if there is one
  std::optional<std::uint64_t> data_file_size;  // bytes, if the file could be opened
  std::vector<MetadataUse> metadata;
  std::vector<std::uint32_t> walked_as;     // by state: the one that is walked for it, as it has the same L1 table
  std::vector<std::uint32_t> copies;        // by state: how many are walked as this one
  std::unique_ptr<image::Repeats> repeats;  // of the walks
  mutable std::mutex cut_tables_guard;
  mutable std::unordered_map<std::uint64_t, bool> cut_tables;  // walked in pieces: do they hold other data?
  std::uint64_t vm_state = 0;                                  // the largest of any snapshot
  std::uint64_t furthest = 0;  // the file once reached at least so far; 0 if it was not cut off

  const format::Geometry& geometry() const { return *image.geometry; }
  std::uint64_t size() const { return image.size(); }

  // Adds a finding, and counts it as qemu-img would if it met it `references` times.
  void report(Finding finding, std::uint64_t references = 1) {
    count(result.totals, finding, references);
    result.findings.add(std::move(finding));
  }
  static void count(Totals& totals, const Finding& finding, std::uint64_t references) {
    const Counted counted = problem(finding.code).counted;
    if (counted == Counted::corruption) totals.corruptions += finding.count * references;
    if (counted == Counted::leak) totals.leaks += finding.count * references;
  }

  // Does a structure begin within the file and end behind its last byte? Exact to the byte: what is cut off is lost,
  // whatever QEMU makes of it.
  bool cut_off(HostOffset offset, std::uint64_t bytes) const {
    return bytes > 0 && offset.value < size() && offset.value + bytes > image.file().size();
  }

  bool past_end(HostOffset offset, std::uint64_t bytes) const { return image.past_end(offset, bytes); }

  // Something refers to bytes that lie behind the end of the file, all or some of them.
  void claim_beyond(HostOffset offset, std::uint64_t bytes) const {
    const std::uint64_t end = std::min(offset.value + bytes, format::max_host_offset);
    if (offset.value >= end) return;
    const ClusterIndex first = geometry().cluster(offset);
    claims->claim_beyond(first, geometry().clusters(end) - first.value, image.clusters());
  }

  // Does an L1 entry point to a place where no L2 table can be? QEMU reads it as one all the same.
  bool is_garbage(const image::Table& table) const {
    return table.offset.value == 0 || geometry().offset_in_cluster(table.offset.value) != 0;
  }
};

}  // namespace qd::check
