#!/usr/bin/env bash
# Builds with warnings as errors and runs every test; arguments go to ctest (-R NAME; -L unit, cli, images, layers,
# examples, bounds, oracle, repair, trials, advice, crash or speed).
# With CI=true and no arguments also: clang's warnings, and the unit and image tests under the sanitizers.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

jobs=$(nproc)
passed=0 failed=0 skipped=0

# run_tests FOLDER [ctest arguments]: shows what fails, and CTest's summary, and adds up its figures.
run_tests() {
  local folder=$root/$1 status=0 bad of left_out
  shift
  say "testing: ${folder##*/} $* ..."
  ctest --test-dir "$folder" --output-on-failure --no-tests=error -j "$jobs" "$@" 2>&1 </dev/null |
    tee "$folder/ctest.log" | { grep --line-buffered -vE '^ +Start +[0-9]+: | Passed +[0-9.]+ sec$' || true; } || status=$?
  read -r bad of < <(sed -nE 's/.*tests passed, ([0-9]+) tests? failed out of ([0-9]+)$/\1 \2/p' "$folder/ctest.log") ||
    { say "no test was run"; bad=1 of=1; }
  ((status == 0 || bad > 0)) || bad=1
  left_out=$(grep -c '\*\*\*Skipped' "$folder/ctest.log" || true)  # CTest counts them as passed
  passed=$((passed + of - bad - left_out)) failed=$((failed + bad)) skipped=$((skipped + left_out))
}

checked_build() {
  say "building: $1 ..."
  build "$@"
}

# What clang says of all that is built in FOLDER; it sees what g++ doesn't. Nothing is compiled.
clang_warnings() {
  say "asking clang for warnings ..."
  ninja -C "$root/$1" -t commands |
    sed -nE 's/^[^ ]+ (.*) -MD .* -c (.*)/clang++-14 -fsyntax-only -Wno-unknown-warning-option \1 \2/p' | tr '\n' '\0' |
    xargs -0 -n 1 -P "$jobs" bash -c
}

install_packages "${build_packages[@]}" libgtest-dev libgmock-dev nlohmann-json3-dev qemu-utils e2fsprogs python3 \
  valgrind strace
checked_build ci build-ci
if [[ ${CI-} == true && $# == 0 ]]; then
  install_packages clang-14
  clang_warnings build-ci
  checked_build debug-sanitized build-debug qcow2-dump unit-tests
  run_tests build-debug -L 'unit|images'
fi
run_tests build-ci "$@"

echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
