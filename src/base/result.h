// Errors are values. A Result holds what was asked for, or an Error that says why it could not be had: a sentence for
// the user, and the errno from which the exit code follows (256 - errno).
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace qd {

struct Error {
  int number = 0;       // an errno value
  std::string message;  // a whole sentence: what, where, and the way out
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(int number, std::string message) {
  return tl::unexpected<Error>(Error{number, std::move(message)});
}

}  // namespace qd
