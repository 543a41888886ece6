#include "cli/options.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/number.h"
#include "cli/modes.h"
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

repair::Wanted wanted(std::string_view repair) {
  const bool all = repair == "all";
  return {.leak = all || repair == "leak",
          .error = all || repair == "error",
          .reuse = all || repair == "reuse",
          .discard = repair == "discard"};
}

// Values of the command line that Options doesn't keep as they are.
struct Written {
  std::string display, repair = "check";
  std::uint64_t cluster_size = 0;
  std::string apply, keep_as, remove, exclude, mark, clean;
  std::string offset, source, value, width, file;
};

class Parser {
 public:
  explicit Parser(Options& options) : o_(options) {
    app_.set_help_flag();  // ours is written by hand
    // As with getopt: if an option is given twice, the last counts.
    app_.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    add_safe();
    add_writing();
  }

  Result<void> parse(int argc, const char* const* argv);

 private:
  void add_safe();
  void add_writing();
  Result<void> settle();
  void settle_look();
  Result<void> settle_command();
  Result<void> settle_edit();
  Result<void> settle_copy();
  Result<void> settle_operands() const;
  Result<void> settle_writing() const;

  bool given(const CLI::Option* option) const { return option->count() > 0; }

  CLI::Option* word(const std::string& names, std::string& value, Words words) {
    return app_.add_option(names, value)->check(one_of(std::move(words)));
  }
  bool repairs() const { return written_.repair != "off" && written_.repair != "check"; }

  Options& o_;
  session::Request& r_ = o_.request;
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
  Words names;
  for (const Mode& m : modes()) names.emplace_back(m.name);
  word("-m,--mode", o_.mode, names);
  word("-o,--output", o_.output, {"refcount", "snapshot", "all"});
  app_.add_option("-s,--snapshot", o_.snapshot);
  app_.add_flag("-f,--flags", o_.flags);
  word("-R,--repair", written_.repair, {"off", "check", "leak", "error", "reuse", "discard", "all"});
  app_.add_flag("-b,--base", r_.alone);
  app_.add_flag("-c,--compress", r_.decompress);
  app_.add_flag("-l,--lock", r_.lock);
  app_.add_flag("-N,--nocache", r_.direct);
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
  app_.add_flag("--dry-run", r_.dry_run);
  app_.add_flag("--force", r_.force);
  app_.add_flag("--no-undo", r_.no_undo);
  app_.add_option("--undo-log", r_.undo_log)->check(not_empty());
  file_ = app_.add_option("-F,--file", written_.file);
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

Result<void> Parser::parse(int argc, const char* const* argv) {
  try {
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return bad_usage(error.what());
  }
  if (o_.help || o_.version) return {};
  return settle();
}

// At most one of -R, -A, -D, -E, -M, -C and the modes that write.
Result<void> Parser::settle_command() {
  std::vector<std::string> asked;
  o_.action = o_.header ? "header" : o_.mode;
  const auto ask = [&](const CLI::Option* option, const char* action, edit::Command command) {
    if (!given(option)) return;
    asked.push_back(option->get_name(false, true).substr(0, 2));
    r_.task = std::move(command);
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
  if (mode(o_.mode).writes) asked.push_back("-m " + o_.mode);
  if (repairs()) asked.push_back("-R"), o_.action = "repair", r_.task = wanted(written_.repair);
  if (asked.size() > 1) return bad_usage(fmt::format("{} exclude each other", fmt::join(asked, " and ")));
  if (o_.mode == "edit") return settle_edit();
  if (o_.mode == "copy") return settle_copy();
  if (o_.mode == "rebase") {
    if (!given(file_)) return bad_usage("-m rebase wants the backing file: -F NAME, or -F \"\" for none");
    r_.task = edit::Rebase{written_.file, r_.alone};
  }
  if (o_.mode == "undo") {
    if (written_.file.empty()) return bad_usage("-m undo wants the log: -F IMAGE.undo");
    r_.task = session::TakeBack{written_.file};
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
  r_.task = std::move(set);
  return {};
}

Result<void> Parser::settle_copy() {
  if (!given(offset_) || !given(source_) || !given(width_)) {
    return bad_usage("-m copy wants to know where to, from where and how much: -O TO -S FROM -w BYTES");
  }
  const auto bytes = parse_number(written_.width);
  if (!bytes || *bytes == 0) return bad_usage("-w: a number of bytes is wanted");
  if (given(file_) && written_.file.empty()) return bad_usage("-F: a name is wanted");
  r_.task = edit::CopyBytes{written_.offset, written_.source, *bytes, written_.file};
  return {};
}

// An operand that the mode doesn't take is a misunderstanding.
Result<void> Parser::settle_operands() const {
  for (const auto& [option, letter] :
       {std::pair{offset_, 'O'}, {source_, 'S'}, {value_, 'V'}, {width_, 'w'}, {file_, 'F'}}) {
    const auto takes = [letter = letter](const Mode& m) { return m.operands.find(letter) != m.operands.npos; };
    if (!given(option) || takes(mode(o_.mode))) continue;
    Words takers;
    for (const Mode& m : modes()) {
      if (takes(m)) takers.emplace_back(m.name);
    }
    return bad_usage(fmt::format("-{} goes with -m {}, not with -m {}", letter, fmt::join(takers, " or "), o_.mode));
  }
  return {};
}

// Which options go with those that write.
Result<void> Parser::settle_writing() const {
  if (mode(o_.mode).one_image && o_.images.size() > 1) return bad_usage(fmt::format("-m {} takes one image", o_.mode));
  if (o_.header && r_.changes()) return bad_usage("-H only reads");
  if (!r_.undo_log.empty() && r_.no_undo) return bad_usage("--undo-log and --no-undo exclude each other");
  if (!r_.undo_log.empty() && o_.images.size() > 1) return bad_usage("--undo-log takes one image");
  if (!r_.changes() && (r_.dry_run || r_.force || r_.no_undo || !r_.undo_log.empty())) {
    return bad_usage(
        "--dry-run, --force, --undo-log and --no-undo go with what writes: -R, -A, -D, -E, -M, -C and the "
        "modes edit, copy, rebase and undo");
  }
  return {};
}

// With --json the state of the image is always told. For a person, -H only opens the image, -m undo doesn't look, and
// -m info says what is wrong in one sentence.
void Parser::settle_look() {
  using enum session::Depth;
  r_.signals = true;
  r_.advice = o_.json || (written_.repair != "off" && o_.mode != "info");
  r_.depth = o_.json ? check : o_.header ? open : o_.mode == "undo" ? none : check;
}

// What depends on more than one option.
Result<void> Parser::settle() {
  if (!written_.display.empty()) o_.color = written_.display == "color";
  if (app_.count("--cluster-size") > 0) {
    const std::uint64_t bytes = written_.cluster_size;
    if (!std::has_single_bit(bytes) || bytes < 512 || bytes > 2u << 20) {
      return bad_usage("--cluster-size: a power of two from 512 to 2M is wanted");
    }
    r_.hints.cluster_bits = static_cast<unsigned>(std::countr_zero(bytes));
  }

  if (auto fit = settle_operands(); !fit) return fit;
  if (auto fit = settle_command(); !fit) return fit;
  if (auto fit = settle_writing(); !fit) return fit;
  settle_look();
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
