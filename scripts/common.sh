#!/usr/bin/env bash
# Sourced by the other scripts: packages and builds on a Debian machine that may be bare.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

build_packages=(g++ cmake ninja-build libcli11-dev libfmt-dev rapidjson-dev libexpected-dev libtbb-dev
                zlib1g-dev libdeflate-dev libzstd-dev)

say() { printf '%s\n' "$@" >&2; }

# quietly LOG COMMAND...: its output goes to LOG, and is shown only when it fails.
quietly() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 </dev/null && return
  local status=$?
  cat "$log" >&2
  say "failed: $* (log: $log)"
  return $status
}

as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

is_installed() { [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# Installs what is missing of the packages named. With nothing missing it needs neither network nor root.
install_packages() {
  command -v dpkg-query >/dev/null || return 0  # not Debian: CMake will say what it can't find
  local missing=() package
  for package; do
    is_installed "$package" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0

  local by_hand="apt-get install --no-install-recommends ${missing[*]}"
  if [[ $(id -u) != 0 ]] && ! command -v sudo >/dev/null; then
    say "packages are missing, and to install them takes root. Run this as root, then start again:" "" "  $by_hand"
    return 1
  fi
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  local log status=0
  log=$(mktemp)
  say "reading the list of packages ..."
  quietly "$log" as_root "${apt[@]}" update || status=$?
  if ((status == 0)); then
    say "installing ${missing[*]} ..."
    quietly "$log" as_root "${apt[@]}" install --no-install-recommends "${missing[@]}" || status=$?
  fi
  if ((status == 0)); then rm -f "$log"; else say "by hand, as root:" "" "  $by_hand"; fi
  return $status
}

# Of all that Ninja says, a line for each tenth of the work.
tenths() {
  awk -F '[][/]' '/^\[[0-9]+\/[0-9]+\]/ && int(10 * $2 / $3) > done {
    done = int(10 * $2 / $3); printf "  %d of %d steps\n", $2, $3; fflush() }' >&2
}

# compile LOG COMMAND...: as quietly(), but it shows how far it has come: minutes of silence look like a fault.
compile() {
  local log=$1 status=0
  shift
  "$@" 2>&1 </dev/null | tee "$log" | tenths || status=$?
  ((status == 0)) && return
  grep -v '^\[[0-9]*/[0-9]*\]' "$log" >&2 || true
  say "failed: $* (log: $log)"
  return $status
}

# build PRESET FOLDER [TARGET...]: one at a time, since two builds in one folder trip over each other.
build() {
  local preset=$1 folder=$root/$2
  shift 2
  mkdir -p "$folder"
  (
    cd "$root" && flock 9 &&
      quietly "$folder/configure.log" cmake --preset "$preset" &&
      compile "$folder/build.log" cmake --build "$folder" ${1:+--target "$@"}
  ) 9>"$folder/.lock"
}
