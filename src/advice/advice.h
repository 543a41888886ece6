// What is wrong with an image in one sentence, and what to do about it: data, for any renderer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "check/report.h"
#include "image/image.h"

namespace qd::advice {

enum class Kind : std::uint8_t {
  note,    // there is nothing to type
  look,    // changes nothing: another check
  copy,    // of the whole image
  edit,    // a value that the file itself tells
  repair,  // -R
  apply,   // -A
};

struct Advice {
  Kind kind = Kind::note;
  std::string text;
  std::vector<std::string> command{};  // words, the image's path the last or the last but one; empty for a note
  std::string loses{};                 // what the command drops; empty: nothing
};

struct Verdict {
  std::string headline;        // where the status's name says too little
  std::string text;            // one sentence: what is wrong, and whether it can be repaired
  std::string note;            // what was not looked at; empty: nothing
  std::vector<Advice> advice;  // in the order in which to follow it: what loses nothing first

  std::string whole_text() const { return note.empty() ? text : text + " " + note; }
};

// `advice`: also looks for what to do. That takes checks of the image as it would be, and plans of repairs.
Verdict judge(const image::Image& image, const check::Report& result, bool advice = true);

}  // namespace qd::advice
