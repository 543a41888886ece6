// An answer is tried before it is given: the image is checked as it would be with other values at some places. Nothing
// is written. A change fits if errors go and none come.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "check/report.h"
#include "image/image.h"
#include "journal/transaction.h"

namespace qd::advice {

struct Change {
  HostOffset at;
  unsigned bytes = 8;
  std::uint64_t value = 0;  // written big-endian
};

Change header_field(const format::HeaderField& field, std::uint64_t value);

class Trial {
 public:
  Trial(const image::Image& image, const check::Report& now);

  struct Outcome {
    std::unique_ptr<Transaction> plan;
    std::unique_ptr<image::Image> image;
    check::Report result;

    std::uint64_t leaks() const { return result.findings.count(check::Code::refcount_leak); }
    // Is the cluster counted, but not named by anything any more? Then whoever named it was perhaps right.
    bool abandons(HostOffset at) const;
  };
  // Nothing: it can't be read, or too much was tried already.
  std::optional<Outcome> with(std::span<const Change> changes);

  // Something was not tried, and might have fitted as well.
  bool exhausted() const { return exhausted_; }

  // Less is wrong than now, and nothing is worse.
  bool better(const check::Report& then) const;
  // The tables fit the refcounts and map something, nothing looks lost, and the only errors are those of the header
  // that there are now, too.
  static bool sound(const check::Report& then, const check::Report& now);

 private:
  const image::Image& image_;
  const check::Report& now_;
  std::uint64_t left_;  // work that may still be done: a hostile image must not make it endless
  bool exhausted_ = false;
};

// The one of all fitting values that leaves the fewest clusters unexplained; nothing if several leave equally few.
template <class T>
class Fewest {
 public:
  void add(T value, std::uint64_t leaks) {
    if (best_ && leaks >= fewest_) {
      several_ |= leaks == fewest_;
      return;
    }
    best_ = std::move(value);
    fewest_ = leaks;
    several_ = false;
  }
  std::optional<T> alone() const { return several_ ? std::nullopt : best_; }

 private:
  std::optional<T> best_;
  std::uint64_t fewest_ = 0;
  bool several_ = false;
};

// What a check has cost, in entries of tables looked at.
std::uint64_t work(const check::Report& result);

// Errors that a trial would see, too.
std::uint64_t errors(const check::Report& result);

}  // namespace qd::advice
