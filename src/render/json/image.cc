// What the image says about itself, for JSON.
#include "render/json/image.h"

#include <algorithm>
#include <array>
#include <bit>

#include "image/chain.h"
#include "io/file_system.h"
#include "render/text/text.h"
#include "words/names.h"

namespace qd::render {
namespace {

using format::FeatureKind;

void write_file(Json& json, const image::Image& image, bool file_system) {
  const File& file = image.file();
  json.object("file", [&] {
    json.value("size", file.size());
    json.value("allocated", file.allocated_bytes());
    json.value("kind", file.traits().kind);
    if (!file_system) return;
    if (const std::string name = file_system_name(file.path()); !name.empty()) json.value("file-system", name);
  });
}

void write_features(Json& json, const image::Image& image) {
  const format::Header& h = image.header;
  const auto bits = [&](FeatureKind kind, std::uint64_t set) {
    json.array(feature_kind_name(kind), [&] {
      for (; set != 0; set &= set - 1) {
        const auto bit = static_cast<unsigned>(std::countr_zero(set));
        const std::string name = image.feature_name(kind, bit);
        json.object([&] {
          json.value("bit", bit);
          if (!name.empty()) json.value("name", name);
        });
      }
    });
  };
  json.object("features", [&] {
    bits(FeatureKind::incompatible, h.incompatible_features);
    bits(FeatureKind::compatible, h.compatible_features);
    bits(FeatureKind::autoclear, h.autoclear_features);
  });
}

void write_extensions(Json& json, const image::Image& image) {
  json.array("extensions", [&] {
    for (const format::Extension& e : image.extensions.list) {
      json.object([&] {
        json.value("type", e.type);
        json.value("name", format::extension_name(e.type));
        json.value("offset", e.at.value);
        json.value("length", e.data.size());
      });
    }
  });
}

// The fields have the specification's names, but with dashes, as all keys of the document.
void write_header(Json& json, const image::Image& image) {
  const format::Header& h = image.header;
  json.object("header", [&] {
    for (const format::HeaderField& field : format::header_fields()) {
      if (field.offset + field.bytes > image.header_bytes_present || (field.version3 && h.version == 2)) continue;
      std::string name(field.name);
      std::ranges::replace(name, '_', '-');
      json.value(name, field.value(h));
    }
    if (image.geometry) json.value("cluster-size", image.geometry->cluster_size());
    if (image.geometry && image.refcounts_readable) json.value("refcount-bits", image.geometry->refcount_bits());
    json.optional("backing-file", image.backing_file);
    json.optional("backing-format", image.backing_format);
    json.optional("data-file", image.data_file);
    if (h.version != 2) write_features(json, image);
    write_extensions(json, image);
  });
}

// Only the beginning of a long name is kept. Then its length stands beside it.
void write_name(Json& json, const char* key, const std::string& name, const char* length_key, std::uint64_t bytes) {
  json.value(key, name);
  if (bytes > name.size()) json.value(length_key, bytes);
}

void write_snapshots(Json& json, const image::Image& image) {
  json.array("snapshots", [&] {
    std::uint64_t number = 0;
    for (const format::Snapshot& s : image.snapshots.entries) {
      json.object([&] {
        json.value("number", number++);
        write_name(json, "id", s.id, "id-length", s.id_bytes);
        write_name(json, "name", s.name, "name-length", s.name_bytes);
        json.value("date-sec", s.date_seconds);
        json.value("date-nsec", s.date_nanoseconds);
        json.value("vm-clock-nsec", s.vm_clock);
        json.value("vm-state-size", s.vm_state_size);
        json.value("disk-size", s.disk_size);
        json.value("l1-offset", s.l1_offset.value);
        json.value("l1-size", s.l1_size);
        json.value("extra-data-size", s.extra_data_size);
      });
    }
  });
}

void write_bitmaps(Json& json, const image::Image& image) {
  json.array("bitmaps", [&] {
    for (const format::Bitmap& b : image.bitmaps.entries) {
      json.object([&] {
        write_name(json, "name", b.name, "name-length", b.name_bytes);
        if (b.granularity_bits < 64) json.value("granularity", std::uint64_t{1} << b.granularity_bits);
        json.value("flags", b.flags);
        json.value("in-use", (b.flags & format::bitmap_in_use) != 0);
        json.value("auto", (b.flags & format::bitmap_auto) != 0);
        json.value("table-offset", b.table_offset.value);
        json.value("table-size", b.table_size);
      });
    }
  });
}

void write_chain(Json& json, const image::Chain& chain) {
  json.array("backing-chain", [&] {
    for (const image::Link& link : chain.links) {
      json.object([&] {
        json.value("name", link.name);
        json.value("path", link.path);
        json.optional("recorded-format", link.recorded_format);
        if (!link.real_format.empty()) {
          json.value("format", link.real_format);
          json.value("virtual-size", link.disk_bytes);
        }
        if (link.loop) json.value("loop", true);
        if (link.remote) json.value("followed", false);
        if (!link.elsewhere.empty()) json.value("elsewhere", link.elsewhere);
        if (!link.error.empty()) json.value("error", link.error);
      });
    }
  });
}

}  // namespace

void write_image(Json& json, const image::Image& image, const check::Report& result, bool info) {
  write_file(json, image, info);
  write_header(json, image);
  write_snapshots(json, image);
  write_bitmaps(json, image);
  if (info && result.chain) write_chain(json, *result.chain);
}

}  // namespace qd::render
