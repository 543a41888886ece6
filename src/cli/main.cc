// The command. Options become one call; everything else is in the library.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>

#include "cli/options.h"
#include "cli/run.h"
#include "render/render.h"

namespace {

using namespace qd;

// Whoever started us may have closed these. An image must never be opened in their place.
void fill_standard_descriptors() {
  int fd;
  do fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) ::close(fd);
}

int perform(const cli::Options& options, render::Output& out) {
  if (options.help) return out.write(cli::help_text()), 0;
  if (options.version) return cli::print_version(out);
  if (!options.explain.empty()) return cli::explain(options, out);
  if (options.images.empty()) return render::print_header(out, nullptr), 0;
  return cli::look_at_images(options, out);
}

}  // namespace

int main(int argc, char** argv) {
  fill_standard_descriptors();
  for (const int signal : {SIGPIPE, SIGXFSZ}) std::signal(signal, SIG_IGN);  // a write that fails says so by itself
  return cli::guarded(
      [&] {
        render::Output out(STDOUT_FILENO);
        const auto options = cli::parse(argc, argv);
        if (!options) return cli::finish(out, cli::refuse(cli::asks_for_json(argc, argv), options.error(), out));
        return cli::finish(out, perform(*options, out));
      },
      cli::complain);
}
