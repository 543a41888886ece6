// The renderers of a check: text for people and for the scripts that know the shape of its lines, JSON for programs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "check/result.h"
#include "image/image.h"
#include "io/profile.h"
#include "render/output.h"
#include "render/selection.h"

namespace qd::render {

struct RepairReport;
struct UndoReport;

struct Style {
  bool color = false;
  bool advice = true;  // say what mends it
  bool screen = false;  // somebody reads it where the first lines may be gone by the end
};

// -H: the header's fields with offset and size; with an image their values too.
void print_header(Output& out, const image::Image* image, const Style& style);

// -m info.
void print_info(Output& out, const image::Image& image, const check::Result& result, const Style& style);

// -m check and -m error (`problems`: each problem with its place).
void print_check(Output& out, const image::Image& image, const check::Result& result, const Selection& selection,
                 bool problems, const Style& style);

// What was done with an image beside the check: for its JSON document. Null: it wasn't, or wasn't asked for.
struct Done {
  std::string mode = "check";  // as Options::action
  const RepairReport* repair = nullptr;
  const UndoReport* undo = nullptr;
  const Profile* profile = nullptr;
};

// One JSON document (schema 2).
void print_json(Output& out, const image::Image& image, const check::Result& result, const Selection& selection,
                const Done& done);
// The same where there is nothing to tell but why it could not be done. No `path`: nothing of the command line was.
void print_json_failure(Output& out, std::optional<std::string_view> path, std::string_view mode, unsigned exit_code,
                        std::string_view why);

// One line for the kernel log, without line end.
std::string summary_line(const image::Image& image, const check::Result& result);

// --explain: a problem's row of the table in full; docs/problems.md: all rows.
std::string explain(const check::Problem& problem);
// A word of the report, in whatever case; empty: it is none.
std::string explain_word(std::string_view text);
// --explain list: a line a code, then the words.
std::string explained_list();
std::string words_list();
std::string problems_document();

}  // namespace qd::render
