// What a repair is going to do, and what came of it: for people and as JSON.
#pragma once

#include <cstdint>
#include <string>

#include "check/problems.h"
#include "render/output.h"
#include "render/render.h"
#include "repair/plan.h"

namespace qd::render {

class Json;

struct RepairReport {
  repair::Plan plan;
  bool dry_run = false, nothing = true;  // nothing: not a byte changes
  check::Status before{}, after{};       // after: as planned
  std::string taken_back_by;             // the log of an interrupted repair that was taken back first
  std::string undo_log;                  // empty: there is none
  std::uint64_t bytes_given_back = 0;
  bool punch_refused = false;
};

// What -m undo has done, or would do in a dry run.
struct UndoReport {
  std::string log;       // the one that the image was taken back by
  std::string undo_log;  // takes it forth again; empty: there is none
  std::string amiss;     // why the image may be neither what it was nor what it became; empty: it is what it was
  std::uint64_t bytes_written = 0;
  std::uint64_t bytes_cut = 0;  // that the image has grown by since
  bool dry_run = false;
};

// What is going to be done and why. Written out before it is done.
void print_plan(Output& out, const RepairReport& repair, const Style& style);
// What was done, and how to take it back.
void print_done(Output& out, const std::string& path, const RepairReport& repair);
// At the end of everything: if it made things worse, the way back once more.
void print_way_back(Output& out, const std::string& path, const RepairReport& repair);

// -m undo in a sentence.
void print_undo(Output& out, const std::string& path, const UndoReport& undo);

void write_repair(Json& json, const RepairReport& repair);
void write_undo(Json& json, const UndoReport& undo);

}  // namespace qd::render
