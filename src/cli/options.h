// The command line as values. Everything of it is spelled and checked here; whoever reads Options can rely on them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "edit/edit.h"

namespace qd::cli {

struct Options {
  std::vector<std::string> images;

  bool help = false, version = false;
  std::string explain;  // a problem's code, a word of the report, "list" or "all"

  bool header = false;
  std::string mode = "check";    // info, check, error, dump, edit, copy, rebase, undo
  std::string output = "all";    // refcount, snapshot, all
  std::string snapshot = "all";  // active, inactive, all, snapshot[N], an ID or a name
  bool flags = false;
  std::string repair = "check";  // off, check, leak, error, reuse, discard, all

  bool dry_run = false, force = false, no_undo = false;
  std::string undo_log;                  // empty: beside the image
  std::string file;                      // -F: the log of -m undo, the source of -m copy
  std::optional<edit::Command> command;  // -A, -D, -E, -M, -C, -m edit, copy, rebase
  std::string action = "check";          // what is done, in a word: the mode, or repair, apply, delete, exclude, ...

  bool no_backing_chain = false;
  bool decompress = false;
  bool lock = false;
  bool direct = false;
  std::optional<unsigned> cluster_bits;  // what the user knows of an image whose header is gone
  std::optional<std::size_t> jobs;

  bool json = false;
  bool stats = false;
  bool kernel_log = false;
  std::optional<bool> color;      // nothing: on a terminal
  std::string progress = "auto";  // auto, on, off
};

// Errors: EINVAL for bad usage, ENOSYS for what is spelled well but belongs to a later version.
Result<Options> parse(int argc, const char* const* argv);

std::string_view help_text();

}  // namespace qd::cli
