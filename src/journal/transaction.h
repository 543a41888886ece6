// The one door for writes. A transaction first is a plan: what is written to it is kept in memory, and view() shows the
// image as it will be, so that a repair is checked before the first byte of it is real. commit() then makes it real:
//
//   1. the undo log is written: old bytes of all that will change; synced.
//   2. stage by stage, each synced before the next begins, the new bytes are written.
//   3. the log is marked as done.
//
// If anything goes wrong in 2 (an error, a signal), the image is taken back by that log at once. After a loss of power
// the log is still there to do it, and a second run can mend any state between two stages.
//
// Memory: a planned page of 4 KiB costs a few words if it is a row of numbers (a refcount block, a table of clusters in
// order) or a copy of bytes found elsewhere, 512 bytes at most if few of its words aren't zero, and else 4 KiB.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "journal/mutable_file.h"

namespace qd {

// The order in which changes become real; a loss of power between two stages must do no harm.
enum class Stage : std::uint8_t {
  fresh,    // bytes in space that nothing refers to yet
  claim,    // refcounts that rise: the space is taken
  point,    // tables and header fields that refer to it
  release,  // refcounts that fall, space that is given back
  mark,     // header flags that say that all is well
};
inline constexpr std::size_t stages = 5;

struct PlannedPages;  // pages.h

class Transaction {
 public:
  // `base` must outlive the transaction.
  explicit Transaction(const File& base);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  // Plans a write. The last write to a place counts, even if it is of an earlier stage than one before it: after all
  // stages a byte is what was written to it last. Writing behind the end makes the image longer.
  // Error: that of reading the rest of a page from the base, or of writing beyond a device's end (ENOSPC).
  Result<void> write(Stage stage, std::uint64_t offset, std::span<const std::byte> bytes);
  // The same with `length` bytes found at `from` in `source`, which outlives the transaction and isn't changed there by
  // it. If `source` is the base, the target may overlap what is copied (in one copy of a transaction). What is behind
  // the end of `source` reads as zeros.
  Result<void> copy(Stage stage, std::uint64_t offset, const File& source, std::uint64_t from, std::uint64_t length);
  // Stage `release`: the range reads as zeros, and its space is given back where that is possible (where it isn't, the
  // zeros are written). What was planned there before is forgotten.
  void punch(std::uint64_t offset, std::uint64_t length);
  // Cutting off comes last, growing first. A device keeps its length: nothing is planned.
  void resize(std::uint64_t bytes);

  // Nothing is planned any more.
  void forget();

  // The image as it will be. Lives no longer than the transaction. Others may read it while something is written to the
  // plan: of each page they see all of that write, or nothing.
  std::unique_ptr<File> view() const;

  // Will the image stay as it is?
  bool empty() const;
  std::uint64_t size() const;           // of the image as it will be, bytes
  std::uint64_t planned_bytes() const;  // about: all pages counted in full

  struct Outcome {
    std::uint64_t bytes_written = 0, bytes_punched = 0, log_bytes = 0;
    bool punch_refused = false;  // the file system gives no space back
  };
  // Makes it real. `image`: the base, open for writing. `log`: a new file, or null for no way back. `interrupted` is
  // looked at between writes. An Error says in what state the image is: untouched, taken back to what it was, or half
  // changed, with the way out. EINTR if interrupted.
  // `modified`: when not 0, the time of the last change that the image shall have afterwards (an undo brings it back).
  Result<Outcome> commit(MutableFile& image, MutableFile* log, const std::string& image_name,
                         const std::atomic<bool>& interrupted, std::int64_t modified = 0);

 private:
  const std::unique_ptr<PlannedPages> plan_;
  std::optional<Error> broken_;  // of punch() or resize(), which return none; commit() does
};

// Takes the image back by `log`, its time of change included. Looks first whether the log is whole and fits, unless
// `forced`. `own_log`, a new file or null, takes back the undo itself. While the image is half taken back, `log` says
// so (state sealed): an undo that was interrupted can be run again.
Result<Transaction::Outcome> undo(MutableFile& image, MutableFile& log, MutableFile* own_log,
                                  const std::string& image_name, bool forced, const std::atomic<bool>& interrupted);

}  // namespace qd
