// -m: the modes, a row for each.
#pragma once

#include <span>
#include <string_view>

#include "render/render.h"

namespace qd::cli {

struct Mode {
  std::string_view name;
  std::string_view operands{};  // the letters of those options that only some modes take: -O, -S, -V, -w, -F
  bool writes = false;
  bool one_image = false;
  bool entries = false;  // a line for each, before the rest
  void (*show)(render::Output& out, const session::Outcome& outcome, const render::View& view);
};

std::span<const Mode> modes();
const Mode& mode(std::string_view name);  // one of these

}  // namespace qd::cli
