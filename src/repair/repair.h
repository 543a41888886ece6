// Plans a repair: from what a check finds, what to change, in which order, and why. Nothing is written; the plan lies
// in the transaction, whose commit() makes it real.
#pragma once

#include "base/result.h"
#include "check/check.h"
#include "journal/transaction.h"
#include "repair/plan.h"

namespace qd::repair {

struct Planned {
  Plan plan;
  check::Status before{}, after{};  // of the image as it is, and as it will be
  image::Hints hints{};             // that will still hold
};

// Why nothing is written to an image on a failing disk.
std::string unreadable_disk(const std::string& path);

// Why no table is changed while the image is read against its header (Image::against_header()).
std::string against_header(const image::Image& image);

// `hints`: what the image is opened with.
// Errors: EIO where the disk below can't be read (copy it first), ENOSPC where there is no room for new structures,
// EFBIG where a refcount table would be too large. What can't be done for other reasons is a refusal in the plan.
Result<Planned> plan_repair(const File& image, const image::Hints& hints, Transaction& transaction,
                            const Wanted& wanted, const check::Settings& options = {});

}  // namespace qd::repair
