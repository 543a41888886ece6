#include "repair/view.h"

#include <algorithm>
#include <utility>

namespace qd::repair {

View::View(const File& base, const image::Hints& hints, const Transaction& transaction, const check::Settings& settings)
    : base_(base), transaction_(transaction), hints_(hints), settings_(settings) {}

bool View::look() {
  if (failed()) return false;
  auto image = image_ ? image_->reopen(transaction_.view()) : image::Image::open(transaction_.view(), hints_);
  if (!image) return fail(image.error()), false;
  image_.emplace(std::move(*image));
  result_ = check::check(*image_, settings_);
  outdated_ = false;
  return true;
}

bool View::refcounts_hidden() const { return result_.findings.any(check::Doubt::refcounts); }

bool View::unreadable() const { return result_.findings.any(check::Doubt::disk); }

std::optional<check::Code> View::questions_everything() const { return result_.findings.first(check::Doubt::meaning); }

void View::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

std::optional<HostOffset> View::l1_entry(std::int32_t snapshot, std::uint32_t l1_index) const {
  const image::State* s = state(snapshot);
  if (!s || l1_index >= s->l1_size) return std::nullopt;
  return image::l1_entry_at(*s, l1_index);
}

std::vector<std::byte> View::read(HostOffset at, std::uint64_t bytes) {
  std::vector<std::byte> buffer(bytes);
  if (auto done = image_->file().read(at.value, buffer); !done) fail(done.error());
  return buffer;
}

std::uint64_t View::read64(HostOffset at) {
  const auto word = image::read_word(image_->file(), at);
  if (!word) fail(word.error());
  return word.value_or(0);
}

std::vector<std::uint64_t> View::read_words(HostOffset at, std::uint64_t bytes) {
  bytes = std::min(bytes, image_->size() - std::min(image_->size(), at.value));
  auto words = image::read_words(image_->file(), at, bytes / sizeof(be64));
  if (!words) fail(words.error());
  return words ? std::move(*words) : std::vector<std::uint64_t>();
}

}  // namespace qd::repair
