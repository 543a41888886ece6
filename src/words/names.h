// What the values of the format are called. Names from the image are returned as they are: whoever prints them escapes
// them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "check/problems.h"
#include "image/image.h"

namespace qd {

std::string_view severity_name(check::Severity severity);

// "dirty bit, bit 7": a bit without a name is a number.
std::string feature_list(const image::Image& image, format::FeatureKind kind, std::uint64_t bits);
// "0x3 [dirty bit, corrupt bit]".
std::string features_text(const image::Image& image, format::FeatureKind kind, std::uint64_t bits);
std::string_view feature_kind_name(format::FeatureKind kind);
std::string_view crypt_method_name(std::uint32_t method);
std::string_view compression_name(std::uint8_t type);
// "16 (64.00K)": a header field's value in decimal, and what it means.
std::string field_meaning(const image::Image& image, const format::HeaderField& field, std::uint64_t value);

}  // namespace qd
