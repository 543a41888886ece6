#!/usr/bin/env bash
# Builds qcow2-dump if need be and runs it with the arguments given; without arguments, shows what it does.
# The exit code is that of qcow2-dump; 255 if it could not be built.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

program=$root/build/qcow2-dump

is_current() {
  [[ -x $program && -z $(find "$root/src" "$root/CMakeLists.txt" -newer "$program" -print -quit) ]]
}

if ! is_current; then
  install_packages "${build_packages[@]}" || exit 255
  say "building qcow2-dump in $root/build: minutes, but only once ..."
  build release build qcow2-dump || exit 255
fi

if (($#)); then
  exec "$program" "$@"
fi
install_packages qemu-utils e2fsprogs || exit 255
exec bash "$root/scripts/demo.sh" "$program"
