#include "check/check.h"

#include <chrono>

#include "check/passes.h"
#include "check/scan.h"

namespace qd::check {

Report check(const image::Image& image, const Settings& options) {
  const auto start = std::chrono::steady_clock::now();
  Report result;
  Context context(image, options, result);

  result.findings = Findings(options.most_findings);
  result.decompressed = options.decompress;
  context.profile.phase("header");
  check_header(context);         // what the header says is known to be sound, or reported
  check_backing_chain(context);  // the files it needs are there, or reported
  if (image.geometry && !image.header_cut_off()) {
    const format::Geometry& geometry = *image.geometry;
    open_data_file(context);
    context.profile.phase("refcounts");
    auto refcounts = std::make_shared<image::Refcounts>(image::Refcounts::load(image));
    context.profile.count_tables(refcounts->blocks());
    judge_refcount_blocks(context, *refcounts);  // blocks that hold something else are known, and reported
    context.refcounts = refcounts;
    context.claims = std::make_shared<Claims>(
        image.clusters() + 2, image.refcounts_readable ? refcounts.get() : nullptr, image.file().allocated_bytes());

    context.profile.phase("metadata");
    check_snapshots(context);  // the states that can be walked are known
    claim_metadata(context);   // no cluster of metadata may be claimed again from here on
    check_refcount_table(context);
    check_bitmaps(context);
    context.profile.phase("mapping");
    scan_mapping(context);  // each entry is judged, each cluster claimed
    check_sizes(context);   // what the mapping proves about the disks' sizes
    check_end(context);     // and about the file's
    if (image.refcounts_readable) {
      context.profile.phase("suspects");
      count_suspects(context);  // what didn't add up is counted exactly
      context.profile.phase("settling");
      settle_refcounts(context);  // references and refcounts agree, or there is a finding
    }
    result.totals.total_clusters = geometry.clusters(image.header.size / format::sector * format::sector);
    result.disk_refcounts = context.refcounts;
    result.claims = context.claims;
  }
  context.profile.phase("leaks");
  judge_leaks(image, result);  // whether what looks leaked is lost data is known, or suspected
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace qd::check
