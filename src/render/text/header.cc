// -H: the header, field by field. With an image it shows every byte as it stands there, also where it makes no sense.
#include "base/number.h"
#include "render/text/text.h"
#include "words/escape.h"
#include "words/names.h"

namespace qd::render {
namespace {

using format::FeatureKind;
using format::Header;
using format::HeaderField;

// Why the image doesn't have the field; empty if it has.
std::string_view absent(const image::Image& image, const HeaderField& field) {
  if (field.offset + field.bytes > image.header_bytes_present) return "(behind the end of the file)";
  if (field.version3 && image.header.version == 2) return "(version 2 has none)";
  if (field.offset >= format::header_bytes_v3 && image.header.header_length <= field.offset) {
    return "(header_length ends before)";
  }
  return {};
}

// A value stands behind its name if there is room, else below it.
void print_value(Output& out, const std::string& start, std::size_t column, const std::string& value) {
  const std::string indent(16, ' ');
  if (value.empty()) {
    out.print("{}\n", start);
  } else if (column + value.size() <= text_width) {
    out.print("{:<{}}{}\n", start, column, value);
  } else {
    out.print("{}\n{}", start, wrap(value, indent));
  }
}

void print_field(Output& out, const image::Image* image, const HeaderField& field) {
  if (!image) return out.print("{:6} {:5}  {}\n", field.offset, field.bytes, field.name);
  const std::string start = fmt::format("{:6} {:5}  {:<23}  ", field.offset, field.bytes, field.name);
  if (const std::string_view why = absent(*image, field); !why.empty()) return out.print("{}{}\n", start, why);
  const std::uint64_t value = field.value(image->header);
  print_value(out, fmt::format("{}0x{:0{}x}", start, value, field.bytes * 2), 59,
              escape(field_meaning(*image, field, value)));
}

std::string extension_text(const image::Image& image, const format::Extension& e) {
  using namespace format::extension;
  switch (e.type) {
    case backing_format:
    case data_file_name:
      return fmt::format("\"{}\"", short_name(e.text()));
    case feature_names:
      return counted(image.feature_names.size(), "name", "names");
    case crypt_header:
      return image.crypt
                 ? fmt::format("key material at 0x{:x}, {} bytes", image.crypt->offset.value, image.crypt->bytes)
                 : "";
    case bitmaps:
      if (!image.bitmaps.extension) return "";
      return fmt::format(
          "{}, directory at 0x{:x}, {} bytes", counted(image.bitmaps.extension->count.get(), "bitmap", "bitmaps"),
          image.bitmaps.extension->directory_offset.get(), image.bitmaps.extension->directory_size.get());
    default:
      return "";
  }
}

void print_extensions(Output& out, const image::Image& image) {
  out.write("\nHeader extensions:\n");
  for (const format::Extension& e : image.extensions.list) {
    const std::string start =
        fmt::format("{:6} {:5}  0x{:08x}  {}", e.at.value, e.data.size() + 8, e.type, format::extension_name(e.type));
    print_value(out, start, start.size() + 2, extension_text(image, e));
  }
  if (image.extensions.list.empty()) out.write("(none)\n");
  if (image.extensions.truncated) out.write("The last one claims to be longer than there is room.\n");
  for (const format::FeatureName& f : image.feature_names) {
    out.print("{:14}{} bit {}: {}\n", "", feature_kind_name(f.kind), f.bit, escape(f.name));
  }
  if (!image.backing_file) return;
  out.print("\n{:6} {:5}  backing file name: \"{}\"\n", image.header.backing_file_offset,
            image.header.backing_file_size, escape(*image.backing_file));
}

void print_known_extensions(Output& out) {
  using namespace format::extension;
  out.write("\nHeader extensions: type (4), length (4), data, padding to 8; from header_length on\n");
  for (const std::uint32_t type : {backing_format, feature_names, bitmaps, crypt_header, data_file_name}) {
    out.print("  0x{:08x}  {}\n", type, format::extension_name(type));
  }
  out.write("\nFeature bits:\n");
  for (const format::FeatureName& f : format::known_features()) {
    out.print("  {:<12} bit {}  {}\n", feature_kind_name(f.kind), f.bit, f.name);
  }
}

}  // namespace

void print_header(Output& out, const image::Image* image) {
  if (image) out.print("File: {}\n\n", escape(image->file().path()));
  out.write(image ? "Offset  Size  Field                    Raw                 Value\n" : "Offset  Size  Field\n");
  for (const HeaderField& field : format::header_fields()) print_field(out, image, field);
  if (image) {
    print_extensions(out, *image);
  } else {
    print_known_extensions(out);
  }
}

}  // namespace qd::render
