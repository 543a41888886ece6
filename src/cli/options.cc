#include "cli/options.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/number.h"
#include "format/header.h"

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
  std::string apply, keep_as, remove, exclude, mark, clean;
  std::string offset, source, value, width;
  std::vector<CLI::Option*> later;  // options of later versions in the order of the help
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
  Result<void> settle_command();
  Result<void> settle_edit();
  Result<void> settle_copy();
  Result<void> settle_operands() const;
  Result<void> settle_writing() const;

  bool given(const CLI::Option* option) const { return option->count() > 0; }

  CLI::Option* word(const std::string& names, std::string& value, Words words) {
    return app_.add_option(names, value)->check(one_of(std::move(words)));
  }
  // What isn't built in yet: its spelling is checked and its value dropped.
  CLI::Option* dropped(const std::string& names) {
    return app_.add_option_function<std::string>(names, [](const std::string&) {});
  }

  Options& o_;
  Written written_;
  CLI::App app_;
  CLI::Option *file_ = nullptr, *apply_ = nullptr, *keep_as_ = nullptr, *remove_ = nullptr, *exclude_ = nullptr,
              *mark_ = nullptr, *clean_ = nullptr, *offset_ = nullptr, *source_ = nullptr, *value_ = nullptr,
              *width_ = nullptr;
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
  app_.add_flag("--stats", o_.stats);
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
  apply_ = app_.add_option("-A,--apply", written_.apply);
  keep_as_ = app_.add_option("--keep-as", written_.keep_as);
  remove_ = app_.add_option("-D,--delete", written_.remove);
  exclude_ = app_.add_option("-E,--exclude", written_.exclude);
  mark_ = word("-M,--mark", written_.mark, {"corrupt", "dirty"});
  clean_ = word("-C,--clean", written_.clean, {"corrupt", "dirty"});
  offset_ = app_.add_option("-O,--offset", written_.offset);
  source_ = app_.add_option("-S,--src", written_.source);
  value_ = app_.add_option("-V,--value", written_.value);
  width_ = app_.add_option("-w,--width,-L,--length", written_.width);
}

void Parser::add_later() {
  written_.later = {dropped("--size"),  dropped("--refcount-bits"), dropped("--l1-offset"),   dropped("--donor-header"),
                    dropped("--place"), dropped("--metrics"),       app_.add_flag("--follow")};
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

// Of -A, -D, -E, -M, -C and the modes that write, one at most.
Result<void> Parser::settle_command() {
  std::vector<std::string> asked;
  o_.action = o_.header ? "header" : o_.mode;
  const auto ask = [&](const CLI::Option* option, const char* action, edit::Command command) {
    if (!given(option)) return;
    asked.push_back(option->get_name(false, true).substr(0, 2));
    o_.command = std::move(command);
    o_.action = action;
  };
  const auto bit = [](const std::string& name) {
    return name == "corrupt" ? format::incompatible::corrupt : format::incompatible::dirty;
  };
  ask(apply_, "apply", edit::Apply{written_.apply, given(keep_as_) ? std::optional(written_.keep_as) : std::nullopt});
  ask(remove_, "delete", edit::Remove{written_.remove, false});
  ask(exclude_, "exclude", edit::Remove{written_.exclude, true});
  ask(mark_, "mark", edit::Mark{bit(written_.mark), true});
  ask(clean_, "clean", edit::Mark{bit(written_.clean), false});
  if (given(keep_as_) && !given(apply_)) return bad_usage("--keep-as goes with -A");
  const bool mode_writes = o_.mode == "edit" || o_.mode == "copy" || o_.mode == "rebase";
  if (mode_writes || o_.mode == "undo") asked.push_back("-m " + o_.mode);
  if (o_.repair != "off" && o_.repair != "check") asked.push_back("-R"), o_.action = "repair";
  if (asked.size() > 1) return bad_usage(fmt::format("{} exclude each other", fmt::join(asked, " and ")));
  if (o_.mode == "edit") return settle_edit();
  if (o_.mode == "copy") return settle_copy();
  if (o_.mode == "rebase") {
    if (!given(file_)) return bad_usage("-m rebase wants the backing file: -F NAME, or -F \"\" for none");
    o_.command = edit::Rebase{o_.file, o_.no_backing_chain};
  }
  return {};
}

Result<void> Parser::settle_edit() {
  if (!given(offset_) || !given(value_)) return bad_usage("-m edit wants a place and a value: -O PLACE -V VALUE");
  edit::SetValue set{written_.offset, written_.value, std::nullopt};
  if (given(width_)) {
    const auto width = parse_number(written_.width);
    if (!width || *width > 8 || !std::has_single_bit(*width)) return bad_usage("-w: 1, 2, 4 or 8 bytes can be edited");
    set.width = static_cast<unsigned>(*width);
  }
  o_.command = std::move(set);
  return {};
}

Result<void> Parser::settle_copy() {
  if (!given(offset_) || !given(source_) || !given(width_)) {
    return bad_usage("-m copy wants to know where to, from where and how much: -O TO -S FROM -w BYTES");
  }
  const auto bytes = parse_number(written_.width);
  if (!bytes || *bytes == 0) return bad_usage("-w: a number of bytes is wanted");
  if (given(file_) && o_.file.empty()) return bad_usage("-F: a name is wanted");
  o_.command = edit::CopyBytes{written_.offset, written_.source, *bytes, o_.file};
  return {};
}

// An operand that nobody asks for is a misunderstanding.
Result<void> Parser::settle_operands() const {
  struct Operand {
    const CLI::Option* option;
    std::string_view name;
    Words modes;
  };
  for (const auto& [option, name, modes] : {Operand{offset_, "-O", {"edit", "copy"}},
                                            {source_, "-S", {"copy"}},
                                            {value_, "-V", {"edit"}},
                                            {width_, "-w", {"edit", "copy"}},
                                            {file_, "-F", {"copy", "rebase", "undo"}}}) {
    if (!given(option) || std::ranges::find(modes, o_.mode) != modes.end()) continue;
    return bad_usage(fmt::format("{} goes with -m {}, not with -m {}", name, fmt::join(modes, " or "), o_.mode));
  }
  return {};
}

// What goes with what that writes.
Result<void> Parser::settle_writing() const {
  const bool repairs = o_.repair != "off" && o_.repair != "check", undoes = o_.mode == "undo";
  const bool writes = repairs || undoes || o_.command;
  if (undoes && o_.file.empty()) return bad_usage("-m undo wants the log: -F IMAGE.undo");
  if ((undoes || o_.mode == "edit" || o_.mode == "copy") && o_.images.size() > 1) {
    return bad_usage(fmt::format("-m {} takes one image", o_.mode));
  }
  if (o_.header && writes) return bad_usage("-H only reads");
  if (!o_.undo_log.empty() && o_.no_undo) return bad_usage("--undo-log and --no-undo exclude each other");
  if (!o_.undo_log.empty() && o_.images.size() > 1) return bad_usage("--undo-log takes one image");
  if (!writes && (o_.dry_run || o_.force || o_.no_undo || !o_.undo_log.empty())) {
    return bad_usage(
        "--dry-run, --force, --undo-log and --no-undo go with what writes: -R, -A, -D, -E, -M, -C and the "
        "modes edit, copy, rebase and undo");
  }
  return {};
}

// What one option alone can't tell: combinations, and what this version has.
Result<void> Parser::settle() {
  if (!written_.display.empty()) o_.color = written_.display == "color";
  if (app_.count("--cluster-size") > 0) {
    const std::uint64_t bytes = written_.cluster_size;
    if (!std::has_single_bit(bytes) || bytes < 512 || bytes > 2u << 20) {
      return bad_usage("--cluster-size: a power of two from 512 to 2M is wanted");
    }
    o_.cluster_bits = static_cast<unsigned>(std::countr_zero(bytes));
  }

  if (o_.repair == "recover") return not_built_in("-R recover");
  if (o_.mode == "export" || o_.mode == "map" || o_.mode == "browse") return not_built_in("mode " + o_.mode);
  const auto later = std::ranges::find_if(written_.later, [&](const CLI::Option* option) { return given(option); });
  if (later != written_.later.end()) return not_built_in("option " + (*later)->get_name());
  if (auto fit = settle_operands(); !fit) return fit;
  if (auto fit = settle_command(); !fit) return fit;
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
