// Undo logs that are found by their names. Whoever can create a file beside an image can put one there, so none of them
// is believed for its name and its checksums: what it says the image will hold.
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

// A new log: of the name asked for, or of the next one beside the image; a device's lie in the working folder.
Result<std::unique_ptr<MutableFile>> create_log(const Request& request, const File& image);
// One beside `log`, whatever name was asked for.
Result<std::unique_ptr<MutableFile>> create_log_beside(const Request& request, const File& image);

// Removes a log, unless its name leads to another file by now.
void remove_log(const File& log);

// Why a log isn't to be used unless somebody vouches for it: others than who runs this and the image's owner (who may
// change the image anyway) have made it, or can write to it. Empty: there is no such reason.
std::string why_not_ours(const File& log, const File& image);

// What an image is called in its log.
std::string name_in_log(const File& image);

// Why there was no log to be had.
Error no_log(const Error& error);

// A change that failed: the error, with the way out. A log without which the image is the same is of no use to anybody,
// and is removed.
Error give_up(Error error, const MutableFile* log, const MutableFile& image);

// Is the image what it was before the change that the log is of?
bool changes_nothing(const UndoLog& log, const File& image);

struct FoundLog {
  std::unique_ptr<File> file;
  UndoLog log;
};

// The logs of an image that there may be, the newest last.
std::vector<std::string> log_names(const Request& request, const File& image);

// The newest of them that tells of a change of this image which was interrupted, which is then no more among the names,
// nor are the newer ones. Error: there seems to be one, but it isn't to be believed unasked; the sentence has the way
// out.
Result<std::optional<FoundLog>> interrupted_log(std::vector<std::string>& names, const File& image);

}  // namespace qd::session
