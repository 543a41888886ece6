// The renderers of a check: text for people and for the scripts that know the shape of its lines, JSON for programs.
#pragma once

#include <string>
#include <vector>

#include "check/result.h"
#include "image/image.h"
#include "io/profile.h"
#include "report/output.h"
#include "report/selection.h"

namespace qd::report {

struct RepairReport;

struct Style {
  bool color = false;
  bool advice = true;  // say what mends it
};

// -H: the header's fields with offset and size; with an image their values too.
void print_header(Output& out, const image::Image* image, const Style& style);

// -m info.
void print_info(Output& out, const image::Image& image, const check::Result& result, const Style& style);

// -m check and -m error (`problems`: each problem with its place).
void print_check(Output& out, const image::Image& image, const check::Result& result, const Selection& selection,
                 bool problems, const Style& style);

// One JSON document (schema 1). `mode`: "info", "check", "error", "dump"; `profile`: null unless it is asked for.
void print_json(Output& out, const image::Image& image, const check::Result& result, const Selection& selection,
                const std::string& mode, const RepairReport* repair = nullptr, const Profile* profile = nullptr);
// What has no check to tell: one sentence.
void print_json_note(Output& out, const std::string& path, const std::string& mode, const std::string& text);
// The same for an image that could not be opened at all.
void print_json_failure(Output& out, const std::string& path, const std::string& mode, const Error& error);

// One line for the kernel log, without line end.
std::string summary_line(const image::Image& image, const check::Result& result);

// --explain: a problem's row of the table in full; docs/problems.md: all rows.
std::string explain(const check::Problem& problem);
std::string problems_document();

}  // namespace qd::report
