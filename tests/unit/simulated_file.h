// A disk in memory that loses power, or fails, at any operation one likes.
//
// All files of a test share a Fate, which counts what changes them: write, resize, punch, sync. It can let one of them
// fail, once, or cut the power there: then PowerCut is thrown, and surviving() tells what is found on the disk later:
// all that was synced, and of what came after none, all, or a random part, each write torn between any two sectors.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "io/descriptor.h"
#include "journal/mutable_file.h"

namespace qd {

struct PowerCut {};

class Fate {
 public:
  static constexpr std::uint64_t never = ~std::uint64_t{0};

  void fail_at(std::uint64_t operation, int number) { fail_at_ = operation, number_ = number; }
  void fail_from(std::uint64_t operation, int number) { fail_at(operation, number), for_good_ = true; }
  void cut_at(std::uint64_t operation) { cut_at_ = operation; }
  void interrupt_at(std::uint64_t operation, std::atomic<bool>& flag) { interrupt_at_ = operation, flag_ = &flag; }

  std::uint64_t operations() const { return operations_; }
  const std::vector<std::string>& journal() const { return journal_; }

  // One operation: 0, or the errno it fails with.
  int step(const std::string& what) {
    const std::uint64_t now = operations_++;
    journal_.push_back(what);
    if (now == interrupt_at_) *flag_ = true;
    if (now >= cut_at_) throw PowerCut{};
    return now == fail_at_ || (for_good_ && now > fail_at_) ? number_ : 0;
  }

 private:
  std::uint64_t operations_ = 0, fail_at_ = never, cut_at_ = never, interrupt_at_ = never;
  int number_ = 0;
  bool for_good_ = false;
  std::atomic<bool>* flag_ = nullptr;
  std::vector<std::string> journal_;
};

enum class Survival { none, all, some };  // of what wasn't synced

class SimulatedFile final : public MutableFile {
 public:
  SimulatedFile(Fate& fate, std::string bytes, std::string name, std::int64_t modified = 1)
      : fate_(fate), name_(std::move(name)), now_(bytes), synced_(std::move(bytes)), modified_(modified) {}

  void refuse_punch() { punches_ = false; }
  void become_device() { traits_ = block_device_traits; }
  // A new disk for an old transaction, which knows its file by address.
  void reset(std::string bytes, std::int64_t modified) {
    now_ = bytes;
    synced_ = std::move(bytes);
    pending_.clear();
    modified_ = modified;
  }
  const std::string& contents() const { return now_; }

  std::string surviving(Survival how, unsigned seed) const {
    std::string bytes = synced_;
    std::mt19937 random(seed);
    for (const Change& change : pending_) {
      if (how == Survival::none) break;
      change.apply(bytes, [&] { return how == Survival::all || random() % 2 == 0; });
    }
    return bytes;
  }

  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) const override {
    const std::size_t there = offset < size() ? std::min<std::size_t>(into.size(), size() - offset) : 0;
    if (there > 0) std::memcpy(into.data(), now_.data() + offset, there);
    std::fill(into.begin() + static_cast<std::ptrdiff_t>(there), into.end(), std::byte{0});
    count(there);
    return there;
  }
  std::uint64_t size() const override { return now_.size(); }
  std::uint64_t allocated_bytes() const override { return now_.size(); }
  FileTraits traits() const override { return traits_; }
  const std::string& path() const override { return name_; }
  // Blocks of zeros are holes.
  std::uint64_t stored_bytes(std::uint64_t offset, std::uint64_t length) const override {
    const std::uint64_t end = offset + within(offset, length);
    std::uint64_t stored = 0;
    for (std::uint64_t at = offset; at < end;) {
      const std::uint64_t next = std::min(end, (at / block + 1) * block);
      if (!hole(at)) stored += next - at;
      at = next;
    }
    return stored;
  }
  std::uint64_t next_data(std::uint64_t offset) const override {
    while (offset < size() && hole(offset)) offset = (offset / block + 1) * block;
    return std::min(offset, size());
  }

  Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    return change({Change::Kind::write, offset, std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())},
                  fmt::format("write {} {}+{}", name_, offset, bytes.size()));
  }
  Result<void> resize(std::uint64_t bytes) override {
    return change({Change::Kind::resize, bytes, ""}, fmt::format("resize {} {}", name_, bytes));
  }
  Result<bool> punch(std::uint64_t offset, std::uint64_t length) override {
    if (!punches_) return false;
    length = within(offset, length);
    const auto done = change({Change::Kind::write, offset, std::string(length, '\0')},
                             fmt::format("punch {} {}+{}", name_, offset, length));
    if (!done) return tl::unexpected(done.error());
    return true;
  }
  Result<void> sync() override {
    if (const int number = fate_.step("sync " + name_)) return failure(number, "sync");
    for (const Change& change : pending_) change.apply(synced_, [] { return true; });
    pending_.clear();
    return {};
  }
  std::int64_t modified() const override { return modified_; }
  void set_modified(std::int64_t nanoseconds) override { modified_ = nanoseconds; }

 private:
  struct Change {
    enum class Kind { write, resize } kind;
    std::uint64_t place;
    std::string bytes;

    // survives() is asked for each sector.
    template <class Survives>
    void apply(std::string& file, Survives&& survives) const {
      if (kind == Kind::resize) {
        if (survives()) file.resize(place);
        return;
      }
      for (std::size_t done = 0; done < bytes.size();) {
        const std::size_t here = std::min<std::size_t>(bytes.size() - done, 512 - (place + done) % 512);
        if (survives()) {
          if (file.size() < place + done + here) file.resize(place + done + here);
          bytes.copy(file.data() + place + done, here, done);
        }
        done += here;
      }
    }
  };

  static constexpr std::uint64_t block = 512;

  std::uint64_t within(std::uint64_t offset, std::uint64_t length) const {
    return offset < size() ? std::min(length, size() - offset) : 0;
  }

  bool hole(std::uint64_t at) const {
    static constexpr char zeros[block] = {};
    const std::uint64_t start = at / block * block;
    return std::memcmp(now_.data() + start, zeros, within(start, block)) == 0;
  }

  tl::unexpected<Error> failure(int number, const std::string& what) const {
    return system_failure(number, "cannot " + what + " " + name_);
  }

  // Whether it fails, and whether the power is cut in the midst of it or before, the disk may have got some of it.
  Result<void> change(Change change, const std::string& what) {
    pending_.push_back(change);
    if (const int number = fate_.step(what)) {
      std::mt19937 random(static_cast<unsigned>(fate_.operations()));
      const Change torn = pending_.back();
      if (torn.kind == Change::Kind::write) torn.apply(now_, [&] { return random() % 2 == 0; });
      pending_.pop_back();
      synced_then_torn();
      return failure(number, what);
    }
    pending_.back().apply(now_, [] { return true; });
    modified_ += 1000;
    return {};
  }
  // After a failed write the next sync makes real what reads see: that is simplest said by one write of all of it.
  void synced_then_torn() {
    pending_.push_back({Change::Kind::resize, now_.size(), ""});
    pending_.push_back({Change::Kind::write, 0, now_});
  }

  Fate& fate_;
  const std::string name_;
  std::string now_;
  std::string synced_;
  std::vector<Change> pending_;
  std::int64_t modified_;
  bool punches_ = true;
  FileTraits traits_;
};

}  // namespace qd
