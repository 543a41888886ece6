// Stand-ins for a file on disk: one whose bytes are a string, and one that fails where it is told to.
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "io/descriptor.h"
#include "io/file.h"

namespace qd {
namespace {

class MemoryFile final : public File {
 public:
  MemoryFile(std::string bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {}

  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) const override {
    const auto there = static_cast<std::size_t>(stored_bytes(offset, into.size()));
    if (there > 0) std::memcpy(into.data(), bytes_.data() + offset, there);
    std::fill(into.begin() + static_cast<std::ptrdiff_t>(there), into.end(), std::byte{0});
    count(there);
    return there;
  }

  std::uint64_t size() const override { return bytes_.size(); }
  std::uint64_t allocated_bytes() const override { return bytes_.size(); }
  FileTraits traits() const override { return {}; }
  const std::string& path() const override { return name_; }
  std::uint64_t stored_bytes(std::uint64_t offset, std::uint64_t length) const override {
    return offset < size() ? std::min(length, size() - offset) : 0;
  }
  std::uint64_t next_data(std::uint64_t offset) const override { return std::min(offset, size()); }

 private:
  const std::string bytes_;
  const std::string name_;
};

class FaultyFile final : public File {
 public:
  FaultyFile(std::unique_ptr<File> inner, std::uint64_t offset, std::uint64_t length, int number)
      : inner_(std::move(inner)), offset_(offset), length_(length), number_(number) {}

  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) const override {
    if (touches(offset, into.size())) {
      return system_failure(number_, fmt::format("cannot read {} bytes at {:#x} of {}", into.size(), offset, path()));
    }
    auto done = inner_->read(offset, into);
    if (done) count(*done);
    return done;
  }

  std::uint64_t size() const override { return inner_->size(); }
  std::uint64_t allocated_bytes() const override { return inner_->allocated_bytes(); }
  FileTraits traits() const override { return inner_->traits(); }
  const std::string& path() const override { return inner_->path(); }
  std::int64_t modified() const override { return inner_->modified(); }
  FileIdentity identity() const override { return inner_->identity(); }
  void will_need(std::uint64_t offset, std::uint64_t length) const override { inner_->will_need(offset, length); }
  std::uint64_t stored_bytes(std::uint64_t offset, std::uint64_t length) const override {
    return inner_->stored_bytes(offset, length);
  }
  std::uint64_t next_data(std::uint64_t offset) const override { return inner_->next_data(offset); }
  std::uint64_t waits() const override { return inner_->waits(); }

 private:
  // By distances, not by ends: an end may lie beyond 64 bits.
  bool touches(std::uint64_t offset, std::uint64_t length) const {
    if (length == 0 || length_ == 0) return false;
    return offset < offset_ ? offset_ - offset < length : offset - offset_ < length_;
  }

  const std::unique_ptr<File> inner_;
  const std::uint64_t offset_;
  const std::uint64_t length_;
  const int number_;
};

}  // namespace

std::unique_ptr<File> memory_file(std::string bytes, std::string name) {
  return std::make_unique<MemoryFile>(std::move(bytes), std::move(name));
}

std::unique_ptr<File> faulty_file(std::unique_ptr<File> inner, std::uint64_t offset, std::uint64_t length, int number) {
  return std::make_unique<FaultyFile>(std::move(inner), offset, length, number);
}

}  // namespace qd
