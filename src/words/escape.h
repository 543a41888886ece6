// Names in an image are whatever somebody wrote there. Before they reach a terminal, a shell or a JSON document they go
// through here: an escape sequence in a snapshot's name must not move the cursor, nor a quote end a command.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace qd {

// For terminals and logs: control characters, invisible and direction-changing ones, and bytes that are no UTF-8 become
// \xNN; all else stays as it is. A result longer than `most` bytes is cut, and ends with "...".
std::string escape(std::string_view text, std::size_t most = std::string_view::npos);

// A name in a line of text: whole if a person could have written it, else its beginning.
inline std::string short_name(std::string_view name) { return escape(name, 128); }

// As a JSON string, quotes included. What escape() would change becomes \uNNNN, which is the same value; bytes that are
// no UTF-8 become U+FFFD.
std::string json_string(std::string_view text);

// One word for a POSIX shell; for bash if it has bytes that can't be shown otherwise.
std::string shell_word(std::string_view text);
// The same for a path, which is never mistaken for an option.
std::string shell_quote(std::string_view path);
// A command as it is typed.
std::string command_line(std::span<const std::string> words);

}  // namespace qd
