// -m info: what the image is. Everything that the header leads to, whatever state it is in.
#include "base/number.h"
#include "image/chain.h"
#include "io/file_system.h"
#include "render/text/text.h"
#include "words/escape.h"
#include "words/names.h"
#include "words/sizes.h"

namespace qd::render {
namespace {

using format::FeatureKind;

// "name:             text", long texts in several lines. Without a name, the text continues the field before.
void field(Output& out, std::string_view name, std::string_view text) {
  out.write(wrap(text, fmt::format("{:<18}", name.empty() ? "" : std::string(name) + ":")));
}

void print_files(Output& out, const image::Image& image) {
  const File& file = image.file();
  field(out, "image", escape(file.path()));
  field(out, file.traits().resizable ? "file size" : "device size", size_text(file.size()));
  if (file.traits().knows_allocation) {
    field(out, "on disk",
          fmt::format("{} ({} of the file)", size_text(file.allocated_bytes()),
                      percent(file.allocated_bytes(), file.size())));
  }
  if (const std::string name = file_system_name(file.path()); !name.empty()) field(out, "file system", name);
}

void print_shape(Output& out, const image::Image& image) {
  const format::Header& h = image.header;
  field(out, "format", fmt::format("qcow2, version {}", h.version));
  field(out, "virtual size", size_text(h.size));
  field(out, "cluster size",
        image.geometry
            ? fmt::format("{} ({})", image.geometry->cluster_size(), short_size(image.geometry->cluster_size()))
            : fmt::format("unknown (cluster_bits is {})", h.cluster_bits));
  if (image.geometry && image.refcounts_readable) {
    field(out, "refcount bits", fmt::format("{}", image.geometry->refcount_bits()));
  }
  if (image.geometry) field(out, "L2 entries", image.geometry->extended_l2 ? "extended (32 subclusters)" : "standard");
  field(out, "compression", compression_name(h.compression_type));
  field(out, "encryption", crypt_method_name(h.crypt_method));
  if (image.crypt) {
    field(out, "", fmt::format("key material at 0x{:x}, {} bytes", image.crypt->offset.value, image.crypt->bytes));
  }
  if (h.version >= 3) {
    field(out, "incompatible", escape(features_text(image, FeatureKind::incompatible, h.incompatible_features)));
    field(out, "compatible", escape(features_text(image, FeatureKind::compatible, h.compatible_features)));
    field(out, "autoclear", escape(features_text(image, FeatureKind::autoclear, h.autoclear_features)));
  }
}

void print_allocation(Output& out, const image::Image& image, const check::Report& result) {
  if (result.reports.empty()) return;
  const check::Totals& t = result.totals;
  field(out, "allocated",
        fmt::format("{} of {} clusters, {}", t.allocated_clusters, t.total_clusters,
                    percent(t.allocated_clusters, t.total_clusters)));
  field(out, "fragmented",
        fmt::format("{}, {} of them", t.fragmented_clusters, percent(t.fragmented_clusters, t.allocated_clusters)));
  field(out, "compressed",
        fmt::format("{}, {} of them", t.compressed_clusters, percent(t.compressed_clusters, t.allocated_clusters)));
  field(out, "image end", fmt::format("0x{:x} ({})", t.image_end_offset, size_text(t.image_end_offset)));
  if (image.refcounts_readable) {
    const unsigned bits = image.geometry->cluster_bits;
    field(out, "in use", counted(result.usage.used, "cluster, ", "clusters, ") + size_text(result.usage.used << bits));
    field(out, "free", counted(result.usage.free, "cluster, ", "clusters, ") + size_text(result.usage.free << bits));
  }
}

void print_data_file(Output& out, const image::Image& image) {
  if (image.data_file) field(out, "data file", escape(*image.data_file, 4096));
  if (!image.data_file || !(image.header.autoclear_features & format::autoclear::raw_data_file)) return;
  field(out, "", "raw: it holds the guest's disk as it is");
}

void print_chain(Output& out, const image::Image& image, const check::Report& result) {
  if (!image.backing_file) return;
  out.write("\nBacking chain:\n");
  if (!result.chain) return out.print("  {}\n    not opened (-b)\n", escape(*image.backing_file));
  for (const image::Link& link : result.chain->links) {
    std::string text = escape(link.name);
    if (link.path != link.name) text += fmt::format(" -> {}", escape(link.path));
    out.print("  {}\n", text);
    if (!link.elsewhere.empty() && !link.remote) out.print("    {}\n", link.elsewhere);
    if (link.loop) {
      out.write("    is in the chain already: a loop\n");
    } else if (link.remote) {
      out.write("    a name with a protocol: not followed\n");
    } else if (!link.error.empty()) {
      out.print("    {}\n", escape(link.error));
    } else {
      out.print("    {}, {}, recorded as {}\n", link.real_format, size_text(link.disk_bytes),
                link.recorded_format ? short_name(*link.recorded_format) : "nothing");
    }
  }
}

void print_extensions(Output& out, const image::Image& image) {
  if (image.extensions.list.empty()) return;
  out.write("\nHeader extensions:\n");
  for (const format::Extension& e : image.extensions.list) {
    out.print("  0x{:08x}  at {:6}, {:6} bytes  {}\n", e.type, e.at.value, e.data.size(),
              format::extension_name(e.type));
  }
  if (image.extensions.truncated) out.write("  The last one claims to be longer than there is room.\n");
}

void print_snapshots(Output& out, const image::Image& image, const check::Report& result) {
  const auto& entries = image.snapshots.entries;
  if (entries.empty() && image.header.nb_snapshots == 0) return;
  out.print("\nSnapshots:\n  No.   ID     {:<19}  {:>9}  {:>9}  {:>9}  Name\n", "Date (UTC)", "VM state", "Disk",
            "Alone");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const format::Snapshot& s = entries[i];
    std::string alone = "?";
    for (std::size_t state = 0; state < result.reports.size(); ++state) {
      if (result.states[state].snapshot != static_cast<std::int32_t>(i)) continue;
      alone = short_size(result.reports[state].alone << image.geometry->cluster_bits);
    }
    out.print("  {:<5} {:<6} {:<19}  {:>9}  {:>9}  {:>9}  {}\n", i, short_name(s.id), date_text(s.date_seconds),
              short_size(s.vm_state_size), short_size(s.disk_size), alone, short_name(s.name));
  }
  const std::uint64_t lost = image.header.nb_snapshots - entries.size();
  if (lost > 0) out.print("  {} can't be read.\n", counted(lost, "more", "more"));
}

void print_check_line(Output& out, const advice::Verdict& verdict) {
  out.write("\n");
  field(out, "check", verdict.text);
}

}  // namespace

void print_info(Output& out, const session::Outcome& outcome) {
  const image::Image& image = *outcome.image;
  const check::Report& result = *outcome.result;
  print_files(out, image);
  const bool foreign = !image.ours() && !image.geometry;
  if (foreign || image.header_bytes_present < format::header_bytes_v2) return print_check_line(out, *outcome.verdict);
  print_shape(out, image);
  print_data_file(out, image);
  print_allocation(out, image, result);
  print_chain(out, image, result);
  print_extensions(out, image);
  print_snapshots(out, image, result);
  if (image.bitmaps.extension) {
    out.write("\nBitmaps:\n");
    print_bitmap_lines(out, image);
  }
  print_check_line(out, *outcome.verdict);
}

}  // namespace qd::render
