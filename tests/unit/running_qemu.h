// QEMU as the other side of a test: its programs run to their end, or keep an image open.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

namespace qd {

// Starts a program with `in` and `out` as its standard streams (its errors go the way of its output).
inline pid_t start(std::vector<std::string> words, int in, int out) {
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(out, 2);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  return child;
}

inline int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

inline int run(std::vector<std::string> words) {
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  const int status = wait_for(start(std::move(words), nothing, nothing));
  ::close(nothing);
  return status;
}

// A qemu-io that has the image open for as long as this lives.
class RunningQemu {
 public:
  RunningQemu(const std::string& image, std::vector<std::string> options) {
    int to_child[2];
    int from_child[2];
    if (::pipe2(to_child, O_CLOEXEC) != 0 || ::pipe2(from_child, O_CLOEXEC) != 0) return;
    std::vector<std::string> words = {"qemu-io", "-f", "qcow2"};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back(image);
    child_ = start(std::move(words), to_child[0], from_child[1]);
    ::close(to_child[0]);
    ::close(from_child[1]);
    in_ = to_child[1];

    // It asks for a command once the image is open.
    std::string said;
    char byte;
    while (said.find("qemu-io>") == std::string::npos && ::read(from_child[0], &byte, 1) == 1) said += byte;
    open_ = said.find("qemu-io>") != std::string::npos;
    out_ = from_child[0];
  }
  RunningQemu(const RunningQemu&) = delete;
  RunningQemu& operator=(const RunningQemu&) = delete;
  ~RunningQemu() {
    ::close(in_);  // end of its input: it closes the image and goes
    wait_for(child_);
    ::close(out_);
  }

  bool open() const { return open_; }

 private:
  pid_t child_ = -1;
  int in_ = -1;
  int out_ = -1;
  bool open_ = false;
};

}  // namespace qd
