// Taking an image back: by a log that the user names, or by one that an interrupted change has left.
#pragma once

#include <string>

#include "base/result.h"
#include "journal/mutable_file.h"
#include "session/logs.h"
#include "session/outcome.h"
#include "session/request.h"

namespace qd::session {

// Takes the image back by the log; a dry run tells what that would do, as far as reading tells.
Result<Undone> undo(const Request& request, const TakeBack& back);

// Takes an interrupted change back. This has a log of its own while it is under way; once it is done, both logs are
// removed.
Result<void> take_back(const FoundLog& found, const Request& request, MutableFile& image);

}  // namespace qd::session
