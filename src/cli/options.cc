#include "cli/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>

namespace qd::cli {
namespace {

using Words = std::vector<std::string>;

CLI::Validator one_of(Words words) {
  const auto check = [words = std::move(words)](const std::string& given) {
    if (std::ranges::find(words, given) != words.end()) return std::string();
    return fmt::format("'{}' is unknown; choose from: {}", given, fmt::join(words, ", "));
  };
  return {check, "", "one of"};
}

CLI::Validator not_empty() {
  const auto check = [](const std::string& given) { return given.empty() ? std::string("a name is wanted") : ""; };
  return {check, "", "not empty"};
}

tl::unexpected<Error> bad_usage(const std::string& why) {
  return fail(EINVAL, why + "; qcow2-dump -h shows all options");
}

// What the command line has beyond the values that Options keeps.
struct Written {
  std::string display;
  std::uint64_t cluster_size = 0;
  // Options of later versions in the order of the help, and the operands of their modes.
  std::vector<CLI::Option*> later, operands;
};

class Parser {
 public:
  explicit Parser(Options& options) : o_(options) {
    app_.set_help_flag();  // ours is written by hand
    // As with getopt: who says something twice means the last.
    app_.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    add_safe();
    add_writing();
    add_later();
  }

  Result<void> parse(int argc, const char* const* argv);

 private:
  void add_safe();
  void add_writing();
  void add_later();
  Result<void> settle();
  Result<void> settle_writing();

  CLI::Option* word(const std::string& names, std::string& value, Words words) {
    return app_.add_option(names, value)->check(one_of(std::move(words)));
  }
  // What isn't built in yet: its spelling is checked and its value dropped.
  CLI::Option* dropped(const std::string& names, const Words& words = {}) {
    CLI::Option* option = app_.add_option_function<std::string>(names, [](const std::string&) {});
    return words.empty() ? option : option->check(one_of(words));
  }

  Options& o_;
  Written written_;
  CLI::App app_;
  CLI::Option* file_ = nullptr;
};

void Parser::add_safe() {
  app_.add_option("IMAGE", o_.images)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app_.add_flag("-h,--help", o_.help);
  app_.add_flag("-v,--version", o_.version);
  app_.add_flag("-H,--header", o_.header);
  word("-m,--mode", o_.mode,
       {"info", "check", "error", "dump", "edit", "copy", "rebase", "undo", "export", "map", "browse"});
  word("-o,--output", o_.output, {"refcount", "snapshot", "all"});
  app_.add_option("-s,--snapshot", o_.snapshot);
  app_.add_flag("-f,--flags", o_.flags);
  word("-R,--repair", o_.repair, {"off", "check", "leak", "error", "reuse", "discard", "all", "recover"});
  app_.add_flag("-b,--base", o_.no_backing_chain);
  app_.add_flag("-c,--compress", o_.decompress);
  app_.add_flag("-l,--lock", o_.lock);
  app_.add_flag("-N,--nocache", o_.direct);
  app_.add_flag("-K,--dmesg", o_.kernel_log);
  word("-d,--display", written_.display, {"off", "none", "color"});
  app_.add_flag("--json", o_.json);
  app_.add_option("-j,--jobs", o_.jobs)->check(CLI::Range(1, 1024));
  app_.add_option("--cluster-size", written_.cluster_size)->transform(CLI::AsSizeValue(false));
  app_.add_option("--explain", o_.explain);
  word("--progress", o_.progress, {"auto", "on", "off"});
}

void Parser::add_writing() {
  app_.add_flag("--dry-run", o_.dry_run);
  app_.add_flag("--force", o_.force);
  app_.add_flag("--no-undo", o_.no_undo);
  app_.add_option("--undo-log", o_.undo_log)->check(not_empty());
  file_ = app_.add_option("-F,--file", o_.file);
}

void Parser::add_later() {
  const Words bits{"corrupt", "dirty"};
  written_.later = {dropped("-A,--apply"),
                    dropped("-D,--delete"),
                    dropped("-E,--exclude"),
                    dropped("-M,--mark", bits),
                    dropped("-C,--clean", bits),
                    dropped("--keep-as"),
                    dropped("--size"),
                    dropped("--refcount-bits"),
                    dropped("--l1-offset"),
                    dropped("--donor-header"),
                    dropped("--place"),
                    app_.add_flag("--stats"),
                    dropped("--metrics"),
                    app_.add_flag("--follow")};
  written_.operands = {dropped("-O,--offset"), dropped("-S,--src"), dropped("-V,--value"),
                       dropped("-w,--width,-L,--length")};
}

Result<void> Parser::parse(int argc, const char* const* argv) {
  try {
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return bad_usage(error.what());
  }
  if (o_.help || o_.version) return {};
  return settle();
}

tl::unexpected<Error> not_built_in(const std::string& what) {
  return fail(ENOSYS, what + " isn't built into this version: nothing was written");
}

// What goes with what that writes.
Result<void> Parser::settle_writing() {
  const bool repairs = o_.repair != "off" && o_.repair != "check", undoes = o_.mode == "undo";
  if (undoes && repairs) return bad_usage("-m undo and -R exclude each other");
  if (undoes && o_.file.empty()) return bad_usage("-m undo wants the log: -F IMAGE.undo");
  if (undoes && o_.images.size() > 1) return bad_usage("-m undo takes one image");
  if (!undoes && file_->count() > 0) return bad_usage(fmt::format("-F goes with -m undo, not with -m {}", o_.mode));
  if (o_.header && (undoes || repairs)) return bad_usage("-H only reads");
  if (!o_.undo_log.empty() && o_.no_undo) return bad_usage("--undo-log and --no-undo exclude each other");
  if (!o_.undo_log.empty() && o_.images.size() > 1) return bad_usage("--undo-log takes one image");
  if (!undoes && !repairs && (o_.dry_run || o_.force || o_.no_undo || !o_.undo_log.empty())) {
    return bad_usage("--dry-run, --force, --undo-log and --no-undo go with what writes: -R or -m undo");
  }
  return {};
}

// What one option alone can't tell: combinations, and what this version has.
Result<void> Parser::settle() {
  if (!written_.display.empty()) o_.color = written_.display == "color";
  const auto given = [](const CLI::Option* option) { return option->count() > 0; };
  if (app_.count("--cluster-size") > 0) {
    const std::uint64_t bytes = written_.cluster_size;
    if (!std::has_single_bit(bytes) || bytes < 512 || bytes > 2u << 20) {
      return bad_usage("--cluster-size: a power of two from 512 to 2M is wanted");
    }
    o_.cluster_bits = static_cast<unsigned>(std::countr_zero(bytes));
  }

  if (o_.repair == "recover") return not_built_in("-R recover");
  constexpr std::array<std::string_view, 5> built_in{"info", "check", "error", "dump", "undo"};
  if (std::ranges::find(built_in, o_.mode) == built_in.end()) return not_built_in("mode " + o_.mode);
  if (const auto later = std::ranges::find_if(written_.later, given); later != written_.later.end()) {
    return not_built_in("option " + (*later)->get_name());
  }
  if (const auto operand = std::ranges::find_if(written_.operands, given); operand != written_.operands.end()) {
    return bad_usage(fmt::format("{} goes with a mode that writes, not with {}", (*operand)->get_name(), o_.mode));
  }
  if (auto fit = settle_writing(); !fit) return fit;
  const bool needs_image = o_.explain.empty() && !(o_.header && !o_.json);
  if (o_.images.empty() && needs_image) return bad_usage("no image was named");
  return {};
}

}  // namespace

Result<Options> parse(int argc, const char* const* argv) {
  Options options;
  Parser parser(options);
  if (auto parsed = parser.parse(argc, argv); !parsed) return tl::unexpected(parsed.error());
  return options;
}

}  // namespace qd::cli
