// The image as it will be when the steps so far are done, and a check of that. Nothing here changes anything.
//
// The first error is kept, so a caller need not ask after each read; from then on look() fails.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "check/check.h"
#include "image/lookup.h"
#include "journal/transaction.h"

namespace qd::repair {

class View {
 public:
  // `base` is the image as it is.
  View(const File& base, const image::Hints& hints, const Transaction& transaction, const check::Settings& settings);

  const File& base() const { return base_; }
  // Opens and checks the image as it will be.
  bool look();
  const image::Image& image() const { return *image_; }
  const format::Geometry& geometry() const { return *image_->geometry; }
  const check::Report& result() const { return result_; }
  const check::Claims& claims() const { return *result_.claims; }
  const image::Refcounts& refcounts() const { return *result_.disk_refcounts; }
  std::uint64_t count(check::Code code) const { return result_.findings.count(code); }
  // A disk that can't be read must not be written to: each access may be its last.
  bool unreadable() const;
  // A header field that gives every entry another meaning. While one of them is wrong, a sound image may look damaged.
  std::optional<check::Code> questions_everything() const;
  // Are there refcounts that can't be read now, so that they tell of nothing that is lost?
  bool refcounts_hidden() const;

  // Was anything planned since the last look?
  bool outdated() const { return outdated_; }
  void outdate() { outdated_ = true; }

  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }
  void fail(Error error);

  const image::State* state(std::int32_t snapshot) const { return image::find_state(result_.states, snapshot); }
  // Where an L1 entry lies; nothing where there can't be one.
  std::optional<HostOffset> l1_entry(std::int32_t snapshot, std::uint32_t l1_index) const;
  HostOffset l2_entry(HostOffset table, std::uint64_t index) const { return image::l2_entry_at(*image_, table, index); }
  std::uint64_t read64(HostOffset at);
  std::vector<std::byte> read(HostOffset at, std::uint64_t bytes);
  // As far as the file goes, in the machine's byte order.
  std::vector<std::uint64_t> read_words(HostOffset at, std::uint64_t bytes);

 private:
  const File& base_;
  const Transaction& transaction_;
  const image::Hints hints_;
  const check::Settings settings_;
  std::optional<image::Image> image_;
  check::Report result_;
  std::optional<Error> error_;
  bool outdated_ = false;
};

}  // namespace qd::repair
