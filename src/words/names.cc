#include "words/names.h"

#include <fmt/core.h>

#include <array>
#include <bit>

#include "words/sizes.h"

namespace qd {

using format::FeatureKind;
namespace field = format::field;

std::string_view severity_name(check::Severity severity) {
  constexpr std::array<std::string_view, 3> names{"warning", "leak", "error"};
  return names[static_cast<std::size_t>(severity)];
}

std::string_view feature_kind_name(FeatureKind kind) {
  constexpr std::array<std::string_view, 3> names{"incompatible", "compatible", "autoclear"};
  return names[static_cast<std::size_t>(kind)];
}

std::string_view crypt_method_name(std::uint32_t method) {
  constexpr std::array<std::string_view, 3> names{"none", "AES (legacy)", "LUKS"};
  return method < names.size() ? names[method] : "unknown";
}

std::string_view compression_name(std::uint8_t type) {
  constexpr std::array<std::string_view, 2> names{"zlib", "zstd"};
  return type < names.size() ? names[type] : "unknown";
}

std::string feature_list(const image::Image& image, FeatureKind kind, std::uint64_t bits) {
  constexpr unsigned most = 4;  // bits without a name; a ruined header has dozens
  std::string names;
  unsigned unnamed = 0;
  for (; bits != 0; bits &= bits - 1) {
    const auto bit = static_cast<unsigned>(std::countr_zero(bits));
    const std::string name = image.feature_name(kind, bit);
    if (name.empty() && ++unnamed > most) continue;
    names += (names.empty() ? "" : ", ") + (name.empty() ? fmt::format("bit {}", bit) : name);
  }
  if (unnamed > most) names += fmt::format(" and {} more", unnamed - most);
  return names;
}

std::string features_text(const image::Image& image, FeatureKind kind, std::uint64_t bits) {
  const std::string names = feature_list(image, kind, bits);
  return fmt::format("0x{:x}{}", bits, names.empty() ? "" : " [" + names + "]");
}

std::string field_meaning(const image::Image& image, const format::HeaderField& field, std::uint64_t value) {
  if (field == field::magic) return value == format::magic ? "QFI\\xfb" : "not qcow2's";
  if (field == field::size) return fmt::format("{} ({})", value, short_size(value));
  if (field == field::cluster_bits)
    return value < 64 ? fmt::format("{} ({})", value, short_size(1ULL << value)) : fmt::format("{}", value);
  if (field == field::crypt_method)
    return fmt::format("{} ({})", value, crypt_method_name(static_cast<std::uint32_t>(value)));
  if (field == field::compression_type)
    return fmt::format("{} ({})", value, compression_name(static_cast<std::uint8_t>(value)));
  if (field == field::refcount_order)
    return value < 7 ? fmt::format("{} ({} bits)", value, 1u << value) : fmt::format("{}", value);
  const auto features = [&](FeatureKind kind) { return value == 0 ? "none" : feature_list(image, kind, value); };
  if (field == field::incompatible_features) return features(FeatureKind::incompatible);
  if (field == field::compatible_features) return features(FeatureKind::compatible);
  if (field == field::autoclear_features) return features(FeatureKind::autoclear);
  return fmt::format("{}", value);
}

}  // namespace qd
