// The log is written front to back: records, sync, header, sync. It is read the same way, all of it, before anything in
// it is believed.
//
// A sector of the image is known if it holds the old bytes, or what one of the versions left. Where the image is or was
// shorter, zeros are known too: making it longer puts them there before the old bytes come back.
#include "journal/undo_log.h"

#include <fmt/core.h>
#include <libdeflate.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "base/endian.h"
#include "base/uniform.h"
#include "journal/transaction.h"

namespace qd {
namespace {

constexpr std::uint64_t piece_bytes = 1 << 20;
constexpr std::uint64_t most_versions = 16;
constexpr std::array<char, 8> magic = {'q', 'd', 'u', 'n', 'd', 'o', '\r', '\n'};
constexpr std::uint32_t format = 2;

struct HeaderOnDisk {
  std::array<char, 8> magic;
  be32 format;
  be32 state;
  be64 old_size, new_size;
  be64 records, log_bytes;
  be64 old_modified, new_modified;
  be32 fingerprint;
  be32 name_bytes;
  std::array<char, 412> name;  // in version 1 it goes on to the checksum
  be64 file_system, inode, log_inode;
  be32 checksum;
};
static_assert(sizeof(HeaderOnDisk) == undo_sector);

struct RecordOnDisk {
  be64 offset, bytes;
  be32 versions;
  be32 checksum;
};
static_assert(sizeof(RecordOnDisk) == 24);

std::uint32_t crc32(std::uint32_t before, const void* bytes, std::size_t length) {
  return libdeflate_crc32(before, bytes, length);
}

std::uint32_t checksum_of(const HeaderOnDisk& header) { return crc32(0, &header, offsetof(HeaderOnDisk, checksum)); }
std::uint32_t checksum_of(const RecordOnDisk& record) { return crc32(0, &record, offsetof(RecordOnDisk, checksum)); }

std::uint64_t sectors_in(std::uint64_t bytes) { return divide_up(bytes, undo_sector); }
std::uint64_t checksum_bytes(std::uint64_t bytes, std::uint64_t versions) { return sectors_in(bytes) * versions * 4; }

Result<void> write_header(MutableFile& log, const UndoHeader& header) {
  HeaderOnDisk disk = {};
  disk.magic = magic;
  disk.format.set(format);
  disk.state.set(static_cast<std::uint32_t>(header.state));
  disk.old_size.set(header.old_size);
  disk.new_size.set(header.new_size);
  disk.records.set(header.records);
  disk.log_bytes.set(header.log_bytes);
  disk.old_modified.set(static_cast<std::uint64_t>(header.old_modified));
  disk.new_modified.set(static_cast<std::uint64_t>(header.new_modified));
  disk.fingerprint.set(header.fingerprint);
  const std::size_t name_bytes = header.image.copy(disk.name.data(), disk.name.size());
  disk.name_bytes.set(static_cast<std::uint32_t>(name_bytes));
  disk.file_system.set(header.image_id.file_system);
  disk.inode.set(header.image_id.inode);
  disk.log_inode.set(header.log_inode);
  disk.checksum.set(checksum_of(disk));
  if (auto done = log.write(0, std::as_bytes(std::span(&disk, 1))); !done) return done;
  return log.sync();
}

tl::unexpected<Error> bad_log(const File& log, const std::string& what) {
  return fail(EINVAL, fmt::format("cannot undo by {}: {}", log.path(), what));
}

tl::unexpected<Error> damaged(const File& log, std::uint64_t offset, const char* what) {
  return bad_log(log, fmt::format("the undo log is damaged at {:#x}: {}; take another copy of it", offset, what));
}

// All of a range, with zeros behind the file's end: whoever minds the end has compared it before.
Result<void> read_into(const File& file, std::uint64_t offset, std::span<std::byte> into) {
  if (auto got = file.read(offset, into); !got) return tl::unexpected(got.error());
  return {};
}

}  // namespace

Result<UndoHeader> read_undo_header(const File& log) {
  HeaderOnDisk disk;
  const auto got = log.read(0, std::as_writable_bytes(std::span(&disk, 1)));
  if (!got) return tl::unexpected(got.error());
  if (disk.magic == std::array<char, 8>{} && log.size() > 0) {
    return bad_log(log, "it was never completed, so the image wasn't touched; delete it");
  }
  if (*got < sizeof disk || disk.magic != magic) return bad_log(log, "it is no undo log of qcow2-dump");
  if (disk.checksum.get() != checksum_of(disk)) return damaged(log, 0, "the header's checksum is wrong");
  if (disk.format.get() == 0 || disk.format.get() > format)
    return bad_log(log, "another version of qcow2-dump wrote it; use that one");
  const auto state = static_cast<UndoState>(disk.state.get());
  if (state != UndoState::sealed && state != UndoState::done) return damaged(log, 12, "the state is unknown");

  UndoHeader header;
  header.state = state;
  header.old_size = disk.old_size.get();
  header.new_size = disk.new_size.get();
  header.records = disk.records.get();
  header.log_bytes = disk.log_bytes.get();
  header.old_modified = static_cast<std::int64_t>(disk.old_modified.get());
  header.new_modified = static_cast<std::int64_t>(disk.new_modified.get());
  header.fingerprint = disk.fingerprint.get();
  const std::size_t room =
      disk.format.get() == 1 ? offsetof(HeaderOnDisk, checksum) - offsetof(HeaderOnDisk, name) : disk.name.size();
  header.image.assign(reinterpret_cast<const char*>(&disk) + offsetof(HeaderOnDisk, name),
                      std::min<std::size_t>(disk.name_bytes.get(), room));
  if (disk.format.get() == 1) return header;
  header.image_id = {.file_system = disk.file_system.get(), .inode = disk.inode.get()};
  header.log_inode = disk.log_inode.get();
  return header;
}

Result<void> UndoWriter::add(std::uint64_t offset, std::span<const std::byte> before,
                             std::span<const std::uint32_t> checksums) {
  return append(offset, before.size(), before, checksums);
}

Result<void> UndoWriter::add_grown(std::uint64_t offset, std::uint64_t bytes,
                                   std::span<const std::uint32_t> checksums) {
  return append(offset, bytes, {}, checksums);
}

Result<void> UndoWriter::append(std::uint64_t offset, std::uint64_t bytes, std::span<const std::byte> before,
                                std::span<const std::uint32_t> checksums) {
  RecordOnDisk disk = {};
  disk.offset.set(offset);
  disk.bytes.set(bytes);
  disk.versions.set(static_cast<std::uint32_t>(checksums.size() / sectors_in(bytes)));

  std::vector<std::byte> record(sizeof disk + before.size() + checksums.size() * 4);
  std::byte* const old_bytes = record.data() + sizeof disk;
  std::ranges::copy(before, old_bytes);
  for (std::size_t i = 0; i < checksums.size(); ++i) {
    const be32 checksum(checksums[i]);
    std::memcpy(old_bytes + before.size() + i * 4, &checksum, 4);
  }
  disk.checksum.set(crc32(checksum_of(disk), old_bytes, record.size() - sizeof disk));
  std::memcpy(record.data(), &disk, sizeof disk);

  if (auto done = log_.write(at_, record); !done) return done;
  at_ += record.size();
  ++records_;
  return {};
}

Result<void> UndoWriter::seal(UndoHeader header) {
  header_ = std::move(header);
  header_.state = UndoState::sealed;
  header_.records = records_;
  header_.log_bytes = at_;
  header_.log_inode = log_.identity().inode;
  if (auto done = log_.sync(); !done) return done;
  return write_header(log_, header_);
}

Result<void> UndoWriter::done(std::int64_t modified) {
  header_.new_modified = modified;
  return set_state(log_, header_, UndoState::done);
}

Result<void> set_state(MutableFile& log, UndoHeader header, UndoState state) {
  header.state = state;
  return write_header(log, header);
}

Result<UndoLog> UndoLog::read(const File& log, bool torn_too) {
  UndoLog result(log);
  auto header = read_undo_header(log);
  if (!header) return tl::unexpected(header.error());
  result.header_ = std::move(*header);
  if (auto done = result.read_records(torn_too); !done) return tl::unexpected(done.error());
  return result;
}

// A record whose place is sound but whose bytes aren't can be stepped over. Where not even its place can be believed,
// what follows is lost, too.
Result<void> UndoLog::read_records(bool torn_too) {
  std::uint64_t image_end = 0;  // of the record before
  for (std::uint64_t at = undo_sector; at < header_.log_bytes;) {
    const std::uint64_t before = at;
    const auto whole = read_record(at, image_end);
    if (whole) continue;
    if (!torn_too || whole.error().number != EINVAL) return tl::unexpected(whole.error());
    if (!torn_) torn_ = whole.error().message;
    if (at == before) return {};
  }
  if (records_.size() == header_.records || torn_) return {};
  return damaged(*log_, header_.log_bytes, "records are missing");
}

// Nothing a record claims is believed before it is compared with what is there: anybody can hand us a log. `at` moves
// on as soon as the record's place has proved sound.
Result<void> UndoLog::read_record(std::uint64_t& at, std::uint64_t& image_end) {
  const std::uint64_t log_end = std::min(header_.log_bytes, log_->size());
  RecordOnDisk disk;
  if (at > log_end || log_end - at < sizeof disk) return damaged(*log_, at, "it ends too early: a record is cut off");
  if (auto done = read_into(*log_, at, std::as_writable_bytes(std::span(&disk, 1))); !done) return done;

  const Record record{disk.offset.get(), disk.bytes.get(), disk.versions.get(), at + sizeof disk,
                      disk.offset.get() >= grown_from()};
  const auto record_end = checked_add(record.offset, record.bytes);
  const bool whole = record.bytes % undo_sector == 0 || (!record.grown && record_end == header_.old_size);
  const std::uint64_t end = record.grown ? round_up(header_.new_size, undo_sector) : header_.old_size;
  if (record.bytes == 0 || record.offset < image_end || record.offset % undo_sector != 0 || !record_end ||
      *record_end > end || !whole || record.versions > most_versions) {
    return damaged(*log_, at, "a record names a place where none can be");
  }
  const std::uint64_t left = log_end - record.at, kept = record.checksums_at() - record.at;
  if (kept > left || checksum_bytes(record.bytes, record.versions) > left - kept) {
    return damaged(*log_, at, "it ends too early: a record is cut off");
  }

  std::uint32_t checksum = checksum_of(disk);
  const std::uint64_t next = record.checksums_at() + checksum_bytes(record.bytes, record.versions);
  std::vector<std::byte> buffer(std::min(next - record.at, piece_bytes));
  for (at = record.at; at < next;) {
    const auto piece = std::span(buffer).first(std::min<std::uint64_t>(next - at, piece_bytes));
    if (auto done = read_into(*log_, at, piece); !done) return done;
    checksum = crc32(checksum, piece.data(), piece.size());
    at += piece.size();
  }
  image_end = *record_end;
  if (checksum != disk.checksum.get()) return damaged(*log_, record.at - sizeof disk, "a record's checksum is wrong");
  records_.push_back(record);
  return {};
}

struct UndoLog::Piece {
  std::uint64_t offset;  // in the image
  std::uint64_t at;      // of the old bytes in the log
  std::uint64_t versions;
  std::span<const std::byte> old_bytes;  // what was there before
  std::span<const std::byte> now;        // in whole sectors
  std::span<const std::byte> checksums;  // those of the first version, then of the second, …

  std::uint64_t sectors() const { return now.size() / undo_sector; }
  std::span<const std::byte> old_sector(std::uint64_t sector) const {
    return old_bytes.subspan(sector * undo_sector, std::min(undo_sector, old_bytes.size() - sector * undo_sector));
  }
  std::span<const std::byte> sector_now(std::uint64_t sector) const {
    return now.subspan(sector * undo_sector, undo_sector);
  }
  bool is_old(std::uint64_t sector) const {
    const auto old = old_sector(sector);
    return std::memcmp(old.data(), now.data() + sector * undo_sector, old.size()) == 0;
  }
};

template <class Each>
Result<void> UndoLog::for_pieces(const File& image, Each&& each) const {
  std::vector<std::byte> old_bytes, now, checksums;
  for (const Record& record : records_) {
    for (std::uint64_t done = 0; done < record.bytes; done += piece_bytes) {
      const std::uint64_t length = std::min(record.bytes - done, piece_bytes);
      const std::uint64_t sectors = sectors_in(length);
      old_bytes.resize(length);
      now.resize(sectors * undo_sector);
      const Piece piece = {record.offset + done, record.at + done, record.versions, old_bytes, now, {}};
      if (record.grown) {
        std::ranges::fill(old_bytes, std::byte{0});
      } else if (auto got = read_into(*log_, piece.at, old_bytes); !got) {
        return got;
      }
      if (auto got = read_into(image, piece.offset, now); !got) return got;
      checksums.resize(sectors * record.versions * 4);
      for (std::uint64_t version = 0; version < record.versions; ++version) {
        const std::uint64_t first = version * sectors_in(record.bytes) + done / undo_sector;
        const auto into = std::span(checksums).subspan(version * sectors * 4, sectors * 4);
        if (auto got = read_into(*log_, record.checksums_at() + first * 4, into); !got) return got;
      }
      Piece complete = piece;
      complete.checksums = checksums;
      if (Result<void> result = each(complete); !result) return result;
    }
  }
  return {};
}

template <class Each>
Result<void> UndoLog::for_differences(const File& image, Each&& each) const {
  return for_pieces(image, [&](const Piece& piece) -> Result<void> {
    if (piece.offset >= grown_from()) return {};
    for (std::uint64_t sector = 0; sector < piece.sectors();) {
      const std::uint64_t first = sector;
      while (sector < piece.sectors() && !piece.is_old(sector)) ++sector;
      if (first == sector) {
        ++sector;
        continue;
      }
      const std::uint64_t start = first * undo_sector;
      const std::uint64_t length = std::min<std::uint64_t>(sector * undo_sector, piece.old_bytes.size()) - start;
      Result<void> done = each(piece.offset + start, piece.old_bytes.subspan(start, length), piece.at + start);
      if (!done) return done;
    }
    return {};
  });
}

// The sector doesn't hold the old bytes. May the transaction, or an undo that broke off, have left it so?
bool UndoLog::known(const Piece& piece, std::uint64_t sector) const {
  const auto now = piece.sector_now(sector);
  const std::uint32_t checksum = crc32(0, now.data(), now.size());
  for (std::uint64_t version = 0; version < piece.versions; ++version) {
    const std::uint64_t index = version * piece.sectors() + sector;
    if (load_big_endian<std::uint32_t>(piece.checksums.data() + index * 4) == checksum) return true;
  }
  const std::uint64_t offset = piece.offset + sector * undo_sector;
  return offset >= header_.new_size && all_zero(now);
}

std::uint64_t UndoLog::grown_from() const { return round_up(header_.old_size, undo_sector); }

Result<std::optional<std::uint64_t>> UndoLog::foreign_growth(const File& image) const {
  std::uint64_t at = grown_from();
  auto record = std::ranges::lower_bound(records_, at, {}, &Record::offset);
  std::vector<std::byte> bytes;
  for (at = image.next_data(at); at < image.size(); at = image.next_data(at)) {
    while (record != records_.end() && record->offset + record->bytes <= at) ++record;
    const std::uint64_t end = std::min(record == records_.end() ? image.size() : record->offset, at + piece_bytes);
    if (end <= at) {
      at = record->offset + record->bytes;
      continue;
    }
    bytes.resize(std::min(end, image.size()) - at);
    if (auto got = read_into(image, at, bytes); !got) return tl::unexpected(got.error());
    if (!all_zero(bytes)) return at;
    at += bytes.size();
  }
  return std::nullopt;
}

Result<bool> UndoLog::half_done(const File& image) const {
  bool missing = image.size() != header_.new_size;
  const auto looked = for_pieces(image, [&](const Piece& piece) -> Result<void> {
    for (std::uint64_t sector = 0; piece.versions > 0 && sector < piece.sectors(); ++sector) {
      const auto now = piece.sector_now(sector);
      const std::uint64_t last = (piece.versions - 1) * piece.sectors() + sector;
      missing |= load_big_endian<std::uint32_t>(piece.checksums.data() + last * 4) != crc32(0, now.data(), now.size());
    }
    return {};
  });
  if (!looked) return tl::unexpected(looked.error());
  return missing;
}

Result<void> UndoLog::fits(const File& image, std::int64_t modified) const {
  const auto refuse = [&](const std::string& why) {
    return fail(EINVAL, fmt::format("cannot undo by {}: {}", log_->path(), why));
  };
  const auto before = fingerprint_after_undo(image);
  if (!before) return tl::unexpected(before.error());
  if (*before != header_.fingerprint) {
    return refuse(
        fmt::format("{} was changed since in its first MiB, or is another image than the one the log was written for "
                    "({})",
                    image.path(), header_.image));
  }

  const std::uint64_t size = image.size();
  const auto [least, most] = std::minmax(header_.old_size, header_.new_size);
  if (size < least || size > most) {
    return refuse(
        fmt::format("{} has {} bytes now, which is neither its length before ({}) nor after ({}); "
                    "somebody else has changed it since",
                    image.path(), size, header_.old_size, header_.new_size));
  }

  bool all_old = size == header_.old_size;
  const auto looked = for_pieces(image, [&](const Piece& piece) -> Result<void> {
    for (std::uint64_t sector = 0; sector < piece.sectors(); ++sector) {
      if (piece.is_old(sector)) continue;
      all_old = false;
      if (known(piece, sector)) continue;
      return refuse(
          fmt::format("{} was changed since: at {:#x} it holds neither what was there before nor what was "
                      "written; what was changed since would be lost or torn",
                      image.path(), piece.offset + sector * undo_sector));
    }
    return {};
  });
  if (!looked) return looked;
  const auto foreign = foreign_growth(image);
  if (!foreign) return tl::unexpected(foreign.error());
  if (*foreign) {
    return refuse(
        fmt::format("{} was changed since: from {:#x} on, behind its old end, it holds what was not written "
                    "then; that would be cut off",
                    image.path(), **foreign));
  }
  if (all_old) return refuse(fmt::format("{} is already as it was before; there is nothing to undo", image.path()));

  if (header_.state != UndoState::done) return {};
  if (size != header_.new_size) {
    return refuse(fmt::format("{} has {} bytes now and had {} when the log was finished; somebody else has changed it",
                              image.path(), size, header_.new_size));
  }
  if (modified != 0 && header_.new_modified != 0 && modified != header_.new_modified) {
    return refuse(
        fmt::format("{} was changed since, as the time of its last change tells; what was changed since would "
                    "be lost or torn",
                    image.path()));
  }
  return {};
}

Result<void> UndoLog::plan(Transaction& transaction) const {
  const auto image = transaction.view();  // before anything is planned: what the image holds
  const std::uint64_t size = image->size();
  std::vector<std::array<std::uint64_t, 3>> places;
  const auto looked =
      for_differences(*image, [&](std::uint64_t offset, std::span<const std::byte> old, std::uint64_t at) {
        places.push_back({offset, at, old.size()});
        return Result<void>();
      });
  if (!looked) return looked;

  if (size != header_.old_size) transaction.resize(header_.old_size);
  for (const auto& [offset, at, length] : places) {
    if (auto done = transaction.copy(Stage::point, offset, *log_, at, length); !done) return done;
  }
  return {};
}

// Growing comes first, so that what was cut off has its place; cutting off comes last, when the rest is in order.
Result<void> UndoLog::take_back(MutableFile& image) const {
  if (image.size() < header_.old_size) {
    if (auto done = image.resize(header_.old_size); !done) return done;
  }
  const auto done = for_differences(image, [&](std::uint64_t offset, std::span<const std::byte> old, std::uint64_t) {
    return image.write(offset, old);
  });
  if (!done) return done;
  if (image.size() > header_.old_size) {
    if (auto cut = image.resize(header_.old_size); !cut) return cut;
  }
  if (auto synced = image.sync(); !synced) return synced;
  if (header_.old_modified != 0) image.set_modified(header_.old_modified);
  return {};
}

// Of the image with the old bytes laid over it.
Result<std::uint32_t> UndoLog::fingerprint_after_undo(const File& image) const {
  std::vector<std::byte> first(std::min(header_.old_size, piece_bytes));
  if (auto done = read_into(image, 0, first); !done) return tl::unexpected(done.error());
  for (const Record& record : records_) {
    if (record.offset >= first.size()) break;
    const std::uint64_t length = std::min(record.bytes, first.size() - record.offset);
    if (auto done = read_into(*log_, record.at, std::span(first).subspan(record.offset, length)); !done) {
      return tl::unexpected(done.error());
    }
  }
  // Where the transaction has cut the image off, what was there is in a record, or was zeros.
  return crc32(0, first.data(), first.size());
}

Result<std::uint32_t> fingerprint(const File& image) {
  std::vector<std::byte> first(std::min(image.size(), piece_bytes));
  if (auto done = read_into(image, 0, first); !done) return tl::unexpected(done.error());
  return crc32(0, first.data(), first.size());
}

}  // namespace qd
