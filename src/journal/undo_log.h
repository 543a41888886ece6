// The undo log: what an image held where a transaction changes it. It is complete and synced before the first byte of
// the image changes, so that at any time after the image can be taken back, to the byte and to the length.
//
// Layout (all numbers big-endian):
//   sector 0   header: magic, version, state, length of the image before and after, number of records, length of the
//              log, times of the image's last change before and after, fingerprint of the image before, its name; file
//              system and inode of the image, and the log's own inode (none of the three in version 1, which is read,
//              too); CRC-32.
//   records    {offset, bytes, versions; CRC-32 of the whole record}, the old bytes (none behind the old end), then the
//              CRC-32s of what the transaction puts into each 512-byte sector: those of all sectors in their first
//              version, then in the second, … (a sector may be written in two stages). No version: the sectors are cut
//              off. Records are in the order of their places, and don't overlap.
// The header is written last, in state `sealed`, after the records have been synced; until then a log says nothing, and
// the image was never touched. Once the last byte of the image is written, the state becomes `done`.
//
// The log knows the old content of each sector, and the checksums of its new ones. So it recognises every image between
// the two, torn by whatever ended the transaction, and takes it back. A sector that is neither old nor new means that
// somebody else has written to the image since.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "journal/mutable_file.h"

namespace qd {

inline constexpr std::uint64_t undo_sector = 512;  // the grain of the log

enum class UndoState : std::uint32_t { sealed = 1, done = 2 };

struct UndoHeader {
  UndoState state = UndoState::sealed;
  std::uint64_t old_size = 0, new_size = 0;  // of the image, bytes
  std::uint64_t records = 0, log_bytes = 0;
  std::uint32_t fingerprint = 0;  // of the image before: CRC-32 of its first MiB
  std::int64_t old_modified = 0, new_modified = 0;
  std::string image;  // the image's file name, for people
  FileIdentity image_id = {};  // which file the image is: no owner and no mode
  std::uint64_t log_inode = 0;

  // Was the log written for this very image, and is it the log itself, not a copy of it?
  bool bound(const FileIdentity& image_now, const FileIdentity& log_now) const {
    return image_id.same_file(image_now) && log_inode == log_now.inode;
  }
};

// Writes a log. Any error leaves the image as it was, since nothing of it may be touched before seal() succeeds.
class UndoWriter {
 public:
  explicit UndoWriter(MutableFile& log) : log_(log) {}

  // `before`: what the image holds from `offset` (a multiple of undo_sector) on, up to its old end at most.
  // `checksums`: a CRC-32 of each of these sectors in each version, all sectors of the first version first. Where the
  // file ends within a sector, that is summed up as if zeros followed.
  Result<void> add(std::uint64_t offset, std::span<const std::byte> before, std::span<const std::uint32_t> checksums);
  // The same for `bytes` (whole sectors) behind the old end: there was nothing to keep, but whoever takes the image
  // back cuts them off, and wants to know that nobody else has written there.
  Result<void> add_grown(std::uint64_t offset, std::uint64_t bytes, std::span<const std::uint32_t> checksums);
  Result<void> seal(UndoHeader header);
  // The transaction is done; `modified` as the image says.
  Result<void> done(std::int64_t modified);

  std::uint64_t bytes() const { return at_; }  // of the log so far

 private:
  Result<void> append(std::uint64_t offset, std::uint64_t bytes, std::span<const std::byte> before,
                      std::span<const std::uint32_t> checksums);

  MutableFile& log_;
  std::uint64_t at_ = undo_sector;
  std::uint64_t records_ = 0;
  UndoHeader header_;
};

class Transaction;

// A log read back.
class UndoLog {
 public:
  // Reads and verifies all of it. EINVAL: no undo log, or an unsealed one (then the image was never touched), or
  // damaged: the message says which, and where. The log file must outlive the result.
  // `torn_too`: damaged records are no error, but left out, and torn() says so.
  static Result<UndoLog> read(const File& log, bool torn_too = false);
  const std::optional<std::string>& torn() const { return torn_; }

  const UndoHeader& header() const { return header_; }

  // Does the image hold what the transaction left, or any part of it? EINVAL with the reason: another image, changed
  // since (with the place), of a length that is not between the two, or taken back already.
  // `modified`: when it was last changed, as MutableFile says; 0 where nobody knows.
  Result<void> fits(const File& image, std::int64_t modified) const;

  // Is anything of what the transaction writes still missing? If not, it wasn't interrupted, even if its log was never
  // marked as done.
  Result<bool> half_done(const File& image) const;

  // Plans the way back: the old length, and the old bytes where the image differs. Doesn't ask whether the log fits: by
  // force, one is used that doesn't.
  Result<void> plan(Transaction& transaction) const;

  // The same at once, without a transaction: the way back from one that failed half way.
  Result<void> take_back(MutableFile& image) const;

 private:
  struct Record {
    std::uint64_t offset = 0, bytes = 0;  // in the image
    std::uint64_t versions = 0;
    std::uint64_t at = 0;  // of the old bytes in the log; the checksums follow
    bool grown = false;    // behind the old end: there are no old bytes

    std::uint64_t checksums_at() const { return grown ? at : at + bytes; }
  };
  struct Piece;
  explicit UndoLog(const File& log) : log_(&log) {}

  Result<void> read_records(bool torn_too);
  Result<void> read_record(std::uint64_t& at, std::uint64_t& image_end);
  // each(piece) for up to a MiB of a record at a time, with what the log and what the image hold.
  template <class Each>
  Result<void> for_pieces(const File& image, Each&& each) const;
  // each(offset, old bytes, place in the log) for every run of sectors that differ from the old ones.
  template <class Each>
  Result<void> for_differences(const File& image, Each&& each) const;
  bool known(const Piece& piece, std::uint64_t sector) const;
  // The first place behind the old end, outside of all records, that doesn't read as zeros.
  Result<std::optional<std::uint64_t>> foreign_growth(const File& image) const;
  std::uint64_t grown_from() const;
  Result<std::uint32_t> fingerprint_after_undo(const File& image) const;

  const File* log_;
  UndoHeader header_;
  std::vector<Record> records_;
  std::optional<std::string> torn_;
};

// What a log's header says; its records aren't read. Errors as of UndoLog::read.
Result<UndoHeader> read_undo_header(const File& log);

// Says in a log's header in what state its image is.
Result<void> set_state(MutableFile& log, UndoHeader header, UndoState state);

// CRC-32 of a file's first MiB (or of all, if it is shorter).
Result<std::uint32_t> fingerprint(const File& image);

}  // namespace qd
