// What came of a request: plain data, for any renderer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "advice/advice.h"
#include "base/result.h"
#include "check/report.h"
#include "image/image.h"
#include "io/profile.h"
#include "repair/plan.h"

namespace qd::session {

// A repair or an edit.
struct Change {
  repair::Plan plan;
  bool dry_run = false, nothing = true;  // nothing: not a byte changes
  check::Status before{}, after{};       // after: as planned
  std::string taken_back_by;             // the log of an interrupted repair that was taken back first
  std::string undo_log{};                // empty: there is none
  std::uint64_t bytes_given_back = 0;
  bool punch_refused = false;
  image::Hints hints{};  // that still hold afterwards
};

// What an undo has done, or would do in a dry run.
struct Undone {
  std::string log;       // the one that the image was taken back by
  std::string undo_log;  // takes the undo back; empty: there is none
  std::string amiss;     // why the image may be neither what it was nor what it became; empty: it is what it was
  std::uint64_t bytes_written = 0;
  std::uint64_t bytes_cut = 0;  // by which the image has grown since
  bool dry_run = false;
};

// 256 - errno: it could not be done.
int exit_code(const Error& error);

struct Outcome {
  std::optional<std::string> path;  // nothing: no image was asked about
  std::optional<image::Image> image;
  std::optional<check::Report> result;  // after the change
  std::optional<advice::Verdict> verdict;
  std::optional<Change> change;
  std::optional<Undone> undone;
  Profile profile;
  std::optional<Error> error;  // why the run ended; the members above are what was known by then

  // The image's state, or the error's code. After an undo 0: it has succeeded, whatever state it has brought back.
  int exit_code() const;
};

}  // namespace qd::session
