// The header. Nothing here stops the check: a wrong field is a finding, and what depends on it is read as well as
// possible. Specification: "Header", "Header extensions".
#include <fmt/core.h>

#include <bit>
#include <set>

#include "base/uniform.h"
#include "check/passes.h"
#include "image/chain.h"

namespace qd::check {
namespace {

using format::Header;
namespace extension = format::extension;

Finding value(Code code, std::uint64_t found, std::optional<std::uint64_t> expected = std::nullopt) {
  Finding f;
  f.code = code;
  f.found = found;
  f.expected = expected;
  return f;
}

Finding worded(Code code, std::uint64_t found, std::string detail) {
  Finding f = value(code, found);
  f.detail = std::move(detail);
  return f;
}

// What a file without our magic may be instead.
std::string looks_like(const Context& c) {
  if (c.image.foreign) return fmt::format("; it is {}", c.image.foreign->what);
  std::array<std::byte, 512> start{};
  if (!c.image.file().read(0, start)) return {};
  if (all_zero(start)) return "; it begins with zeros";
  const auto found = image::looks_like(c.image.file());
  return found ? fmt::format("; it looks like {}", found->what) : "";
}

void check_magic(Context& c) {
  const Header& h = c.image.header;
  const std::uint64_t present = c.image.header_bytes_present, needed = c.image.header_bytes_needed();
  if (present < needed) c.report(value(Code::header_short, present, needed));
  if (present >= 4 && !c.image.ours()) {
    Finding f = value(Code::header_magic, h.magic, format::magic);
    f.detail = looks_like(c);
    c.report(f);
  }
}

void check_features(Context& c) {
  const Header& h = c.image.header;
  const auto unknown = [&](Code code, format::FeatureKind kind, std::uint64_t bits) {
    for (; bits != 0; bits &= bits - 1) {
      const auto bit = static_cast<unsigned>(std::countr_zero(bits));
      const std::string name = c.image.feature_name(kind, bit);
      Finding f;
      f.code = code;
      f.index = bit;
      f.detail = name.empty() ? " (the image doesn't name it)" : fmt::format(" (\"{}\")", name);
      c.report(f);
    }
  };
  unknown(Code::header_incompatible, format::FeatureKind::incompatible,
          h.incompatible_features & ~format::incompatible::known);
  unknown(Code::header_autoclear, format::FeatureKind::autoclear, h.autoclear_features & ~format::autoclear::known);

  if (h.incompatible_features & format::incompatible::dirty) c.report({.code = Code::header_dirty});
  if (h.incompatible_features & format::incompatible::corrupt) c.report({.code = Code::header_corrupt});

  const bool bit = (h.incompatible_features & format::incompatible::compression) != 0;
  if (h.compression_type > 1) {
    c.report(worded(Code::header_compression_type, h.compression_type, ", which is unknown"));
  } else if (bit != (h.compression_type == 1)) {
    c.report(worded(Code::header_compression_type, h.compression_type,
                    bit ? ", but incompatible feature bit 3 says that it isn't zlib"
                        : ", but incompatible feature bit 3 is clear"));
  }
  if (c.image.geometry && c.geometry().extended_l2 && c.geometry().cluster_bits < 14) {
    c.report(value(Code::header_subclusters, c.geometry().cluster_size()));
  }
}

void check_extensions(Context& c) {
  const format::Extensions& all = c.image.extensions;
  std::set<std::uint32_t> seen;
  const auto broken = [&](const format::Extension& e, std::string why) {
    Finding f = worded(Code::header_extension, e.type, fmt::format("({}) {}", format::extension_name(e.type), why));
    f.host = e.at;
    c.report(f);
  };
  for (const format::Extension& e : all.list) {
    const bool last = &e == &all.list.back();
    if (all.truncated && last && e.type == extension::end) {
      broken(e, "begins less than 8 bytes before the end of the room for extensions");
    } else if (all.truncated && last) {
      broken(e, "claims to be longer than the room there is for extensions");
    } else if (!seen.insert(e.type).second) {
      broken(e, "appears twice");
    } else if (e.type == extension::crypt_header && e.data.size() != 16) {
      broken(e, fmt::format("has {} bytes instead of 16", e.data.size()));
    } else if (e.type == extension::backing_format && e.data.size() >= 16) {
      broken(e, fmt::format("has {} bytes; QEMU accepts 15 at most", e.data.size()));
    }
  }
  if (all.bad_end) {
    Finding f = value(Code::header_extension_end, all.end_length);
    f.host = all.bad_end;
    c.report(f);
  }
}

void check_names(Context& c) {
  const Header& h = c.image.header;
  // Without a backing file, neither its name's length nor its format may be left.
  const bool left = h.backing_file_size != 0 || c.image.find_extension(format::extension::backing_format);
  if (h.backing_file_offset != 0 ? !c.image.backing_file : left) {
    c.report(value(Code::header_backing_name, h.backing_file_offset, h.backing_file_size));
  }
  const bool data_file = (h.incompatible_features & format::incompatible::data_file) != 0;
  const bool raw = (h.autoclear_features & format::autoclear::raw_data_file) != 0;
  if (raw && !data_file) {
    c.report(worded(Code::header_data_file, 0,
                    "autoclear bit 1 says that it is raw, but there is none (incompatible feature bit 2 is clear)"));
  }
  if (data_file && !c.image.data_file) {
    c.report(
        worded(Code::header_data_file, 0,
               "incompatible feature bit 2 says that the guest's data lies there, but the header doesn't name it"));
  }
  if (raw && h.backing_file_offset != 0) {
    c.report(worded(Code::header_data_file, 0, "a raw one and a backing file exclude each other"));
  }
}

void check_encryption(Context& c) {
  const Header& h = c.image.header;
  const auto broken = [&](std::string why) { c.report(worded(Code::header_crypt, h.crypt_method, std::move(why))); };
  const format::Extension* e = c.image.find_extension(extension::crypt_header);
  if (h.crypt_method > 2) broken(fmt::format("method {} is unknown", h.crypt_method));
  if (h.crypt_method != 2 && e) broken("there is a LUKS header, but the method is not LUKS");
  if (h.crypt_method == 2 && !e)
    broken("the method is LUKS, but the header extension that leads to the keys is missing");
  if (!c.image.crypt) return;
  const auto [offset, bytes] = *c.image.crypt;
  if (c.geometry().offset_in_cluster(offset.value) != 0) {
    broken(fmt::format("the LUKS header's offset 0x{:x} is not cluster-aligned", offset.value));
  } else if (offset.value >= c.size() || bytes > c.size() - offset.value) {
    broken(fmt::format("the LUKS header at 0x{:x} ({} bytes) lies past the end of the file", offset.value, bytes));
  } else if (bytes > format::max_crypt_header_bytes) {
    broken(
        fmt::format("a LUKS header of {} bytes is impossible; {} are the most", bytes, format::max_crypt_header_bytes));
  } else {
    std::array<std::byte, 6> start{};
    const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
    if (c.image.file().read(offset.value, start) && text != "LUKS\xba\xbe") {
      broken(fmt::format("what lies at 0x{:x} is no LUKS header", offset.value));
    }
  }
}

// The tables' places. The active L1 table is judged here, since the header alone describes it.
void check_tables(Context& c) {
  const Header& h = c.image.header;
  const format::Geometry& g = c.geometry();
  const std::uint64_t needed = g.l1_entries_for(h.size);
  if (needed > format::max_l1_entries) {
    c.report(worded(
        Code::header_virtual_size, h.size,
        fmt::format("a disk of this size needs {} L1 entries; {} are possible", needed, format::max_l1_entries)));
  }
  if (h.l1_size > format::max_l1_entries) {
    c.report(worded(Code::header_l1_size, h.l1_size,
                    fmt::format("{} are possible, the virtual size needs {}", format::max_l1_entries, needed)));
  } else if (h.l1_size < needed && needed <= format::max_l1_entries) {
    c.report(worded(Code::header_l1_size, h.l1_size, fmt::format("the virtual size needs {}", needed)));
  }

  const std::uint64_t l1_bytes = std::uint64_t{h.l1_size} * 8;
  if (g.offset_in_cluster(h.l1_table_offset) != 0) {
    c.report(worded(Code::header_l1_offset, h.l1_table_offset, "it is not cluster-aligned"));
  } else if (h.l1_size > 0 && c.past_end(HostOffset(h.l1_table_offset), l1_bytes)) {
    c.report(worded(Code::header_l1_offset, h.l1_table_offset,
                    fmt::format("with {} bytes the table lies past the end of the file (0x{:x})", l1_bytes, c.size())));
  } else if (c.cut_off(HostOffset(h.l1_table_offset), l1_bytes)) {
    Finding f = value(Code::l1_truncated, l1_bytes, c.image.file().size());
    f.state = active_state;
    f.host = HostOffset(h.l1_table_offset);
    c.report(f);
  }

  const std::uint64_t clusters = h.refcount_table_clusters, at = h.refcount_table_offset;
  const auto broken = [&](std::string why) {
    Finding f = worded(Code::header_refcount_table, at, std::move(why));
    f.expected = clusters;
    c.report(f);
  };
  if (g.offset_in_cluster(at) != 0) {
    broken("its offset is not cluster-aligned");
  } else if (clusters == 0) {
    broken("it has no size");
  } else if (clusters > format::max_reftable_bytes >> g.cluster_bits) {
    broken(fmt::format("{} bytes are possible", format::max_reftable_bytes));
  } else if (c.past_end(HostOffset(at), clusters << g.cluster_bits)) {
    broken(fmt::format("it lies past the end of the file (0x{:x})", c.size()));
  }
}

// What the user knows is how the image is read here. Whoever else opens it goes by the header.
void check_cluster_bits(Context& c) {
  const std::uint32_t bits = c.image.header.cluster_bits;
  if (c.image.against_header()) {
    c.report(worded(Code::header_cluster_bits, bits,
                    fmt::format(", and with --cluster-size it is {} here", c.image.geometry->cluster_bits)));
  } else if (bits < 9 || bits > 21) {
    c.report(value(Code::header_cluster_bits, bits));
  }
}

}  // namespace

void check_header(Context& c) {
  const Header& h = c.image.header;
  check_magic(c);
  if ((!c.image.ours() && !c.image.geometry) || c.image.header_cut_off()) return;  // then no field means anything
  if (h.version < 2 || h.version > 3) c.report(value(Code::header_version, h.version));
  check_cluster_bits(c);
  if (!c.image.geometry) return;

  if (h.version != 2 && (h.header_length < format::header_bytes_v3 || h.header_length % 8 != 0 ||
                         h.header_length > c.geometry().cluster_size())) {
    c.report(value(Code::header_length, h.header_length));
  }
  if (!c.image.refcounts_readable) c.report(value(Code::header_refcount_order, h.refcount_order));
  check_features(c);
  check_extensions(c);
  check_names(c);
  check_encryption(c);
  check_tables(c);
}

}  // namespace qd::check
