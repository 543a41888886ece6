// What main() calls: one function for each thing the command can be asked to do. They return the exit code.
#pragma once

#include <cerrno>
#include <exception>
#include <new>
#include <string_view>

#include "base/result.h"
#include "cli/options.h"
#include "render/output.h"

namespace qd::cli {

// "qcow2-dump: " and the sentence on stderr; returns the exit code that belongs to the error.
int complain(const Error& error);

// A command line that can't be done: the same, and a document for whoever asked for JSON.
int refuse(bool json, const Error& error, render::Output& out);
// Was --json given? Answers also for a command line that can't be parsed.
bool asks_for_json(int argc, const char* const* argv);

int print_version(render::Output& out);
int explain(const Options& options, render::Output& out);

// Looks at each image in turn. Returns the highest of their exit codes; an image that fails doesn't stop the others.
int look_at_images(const Options& options, render::Output& out);

// Writes out what is left. A reader who went away (head, less) is no error worth a word.
int finish(render::Output& out, int code);

// Does the work, and turns whatever it throws into a complaint: out of memory is a sentence, never an abort.
template <class Work, class Complain>
auto guarded(Work&& work, Complain&& complaint) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return complaint(Error{ENOMEM, "out of memory"});
  } catch (const std::exception& error) {
    return complaint(Error{EIO, error.what()});
  }
}

}  // namespace qd::cli
