// Memory for large reads: used again and again, and aligned for direct reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

namespace qd {

class ReadBuffer {
 public:
  // Room for `count` words. What the buffer held before is gone.
  std::span<std::uint64_t> words(std::size_t count) {
    if (count > size_) {
      words_.reset();  // frees the old memory before it takes more
      size_ = 0;
      words_.reset(new (alignment) std::uint64_t[count]);
      size_ = count;
    }
    return {words_.get(), count};
  }

 private:
  static constexpr std::align_val_t alignment{4096};
  struct Free {
    void operator()(std::uint64_t* words) const { ::operator delete[](words, alignment); }
  };
  std::unique_ptr<std::uint64_t[], Free> words_;
  std::size_t size_ = 0;
};

}  // namespace qd
