// Undo logs that are found by their names. What a log holds becomes the image's content, and whoever can create a file
// beside the image can put a log there. So neither its name nor its checksums make a log trusted.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "journal/mutable_file.h"
#include "journal/undo_log.h"
#include "session/request.h"

namespace qd::session {

// A new log: with the name that was asked for, or else the next one beside the image. A device's logs lie in the
// working folder.
Result<std::unique_ptr<MutableFile>> create_log(const Request& request, const File& image);
// The same, but if a file has the name that was asked for, the new log gets the next number behind it.
Result<std::unique_ptr<MutableFile>> create_log_beside(const Request& request, const File& image);

// Removes a log, unless its name belongs to another file by now.
void remove_log(const File& log);

// Why a log must not be used unless the user vouches for it; empty: it may be used. Its owner must be the user who runs
// this or the image's owner, who may change the image anyway; and nobody else may be able to write to it.
std::string why_not_ours(const File& log, const File& image);

// What an image is called in its log.
std::string name_in_log(const File& image);

// The error for a log that can't be created.
Error no_log(const Error& error);

// After a change has failed: its error, with the way out. If the image is as it was before the change, the log is of no
// use, and is removed.
Error give_up(Error error, const MutableFile* log, const MutableFile& image);

// Is the image as it was before the log's change?
bool changes_nothing(const UndoLog& log, const File& image);

struct FoundLog {
  std::unique_ptr<File> file;
  UndoLog log;
};

// The names of the files that may be logs of the image, by series, each with the newest last: those beside the image,
// wherever this change's log is to go, then those with the name that was asked for.
using LogNames = std::vector<std::vector<std::string>>;
LogNames log_names(const Request& request, const File& image);

// The newest log of an interrupted change of this image; nothing if there is none. Its name and the newer ones are
// taken off `names`. Error: there seems to be such a log, but the user must vouch for it; the message says how.
Result<std::optional<FoundLog>> interrupted_log(LogNames& names, const File& image);

}  // namespace qd::session
