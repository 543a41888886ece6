// A change in words: what is going to be done, what came of it, and how to take it back.
#pragma once

#include <string>

#include "render/output.h"
#include "render/render.h"

namespace qd::render {

// What is going to be done and why. Written out before it is done.
void print_plan(Output& out, const session::Change& change, const Style& style);
// What was done, and how to take it back.
void print_done(Output& out, const std::string& path, const session::Change& change);
// At the end of everything: if it made things worse, the way back once more.
void print_way_back(Output& out, const std::string& path, const session::Change& change);

// -m undo in a sentence.
void print_undo(Output& out, const std::string& path, const session::Undone& undo);

}  // namespace qd::render
