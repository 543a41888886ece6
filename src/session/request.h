// What is asked of an image. One change at most; without one it is only looked at.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "edit/edit.h"
#include "image/image.h"
#include "repair/plan.h"

namespace qd::session {

struct Nothing {};

// -m undo: an undo log makes the image what it was.
struct TakeBack {
  std::string log;  // its path
};

using Task = std::variant<Nothing, repair::Wanted, edit::Command, TakeBack>;

// How far the image is looked at, after the change if there is one.
enum class Depth : std::uint8_t { none, open, check };

struct Request {
  std::string path;  // of the image: a file or a block device
  Task task{};
  bool dry_run = false;    // plan the task, write nothing
  bool force = false;      // do what is refused otherwise as lossy or suspicious
  bool no_undo = false;    // keep no log
  std::string undo_log{};  // its path; empty: the next name beside the image
  bool signals = false;    // while it is being written, SIGINT, SIGTERM and SIGHUP ask for the way back

  Depth depth = Depth::check;
  image::Hints hints{};
  bool alone = false;       // open no file but the image: no backing file, no data file
  bool decompress = false;  // every compressed cluster
  bool advice = true;       // look for what to do
  bool lock = false;        // hold QEMU's lock, fail if somebody writes to the image; changes always do
  bool direct = false;      // leave the page cache as it is

  bool changes() const { return task.index() != 0; }
};

}  // namespace qd::session
