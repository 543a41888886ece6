// The renderers of a check: text for people and for the scripts that know the shape of its lines, JSON for programs.
#pragma once

#include <string>
#include <string_view>

#include "render/output.h"
#include "render/selection.h"
#include "session/outcome.h"

namespace qd::render {

struct Style {
  bool color = false;
  bool advice = true;   // say what mends it
  bool screen = false;  // a terminal, where the first lines may be gone by the end
};

// What of an outcome is shown, and how.
struct View {
  Selection selection{};
  bool problems = false;  // each with its place
  bool flags = false;     // dump: raw entries
  bool profile = false;   // JSON: the profile, too
  Style style{};
};

// -H: the header's fields with offset and size; with an image their values too.
void print_header(Output& out, const image::Image* image);

// The functions below need an outcome with an image, its check and a verdict, but for what is said of them.
//
// -m info. Of the verdict, the text.
void print_info(Output& out, const session::Outcome& outcome);

// -m check and -m error.
void print_check(Output& out, const session::Outcome& outcome, const View& view);

// -m dump: every entry; the tables are read for it. The check's report comes after. Needs no verdict. The profile gets
// a phase for it.
void print_entries(Output& out, session::Outcome& outcome, const View& view);

// One JSON document (schema 2), also of an error. `mode`: what was asked for, in a word.
void print_json(Output& out, const session::Outcome& outcome, std::string_view mode, const View& view);

// One line for the kernel log, without line end.
std::string summary_line(const session::Outcome& outcome);

// --explain: a problem's row of the table in full.
std::string explain(const check::Problem& problem);
// What a word of the report means, in upper or lower case; empty: it isn't one.
std::string explain_word(std::string_view text);
// --explain list: a line a code, then the words.
std::string explained_list();
std::string words_list();
// docs/problems.md: all rows in full.
std::string problems_document();

}  // namespace qd::render
