// The command line as values. All of it is parsed and checked here; whoever reads Options can rely on them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "session/request.h"

namespace qd::cli {

struct Options {
  std::vector<std::string> images;

  bool help = false, version = false;
  std::string explain;  // a problem's code, a word of the report, "list" or "all"

  session::Request request;      // the same for each image; its path is filled in later
  bool header = false;           // -H
  std::string mode = "check";    // as in modes.h
  std::string action = "check";  // what is done, in a word: the mode, or repair, apply, delete, exclude, ...

  std::string output = "all";    // refcount, snapshot, all
  std::string snapshot = "all";  // active, inactive, all, snapshot[N], an ID or a name
  bool flags = false;
  bool json = false;
  bool stats = false;
  bool kernel_log = false;
  std::optional<bool> color;      // nothing: on a terminal
  std::string progress = "auto";  // auto, on, off
  std::optional<std::size_t> jobs;
};

// Error: EINVAL, bad usage.
Result<Options> parse(int argc, const char* const* argv);

std::string_view help_text();

}  // namespace qd::cli
