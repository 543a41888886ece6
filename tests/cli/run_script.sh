#!/usr/bin/env bash
# scripts/run.sh on a machine where things are missing: it says what it does, and what to do. apt, dpkg, cmake and id are
# stand-ins here, so that nothing is installed or built.
source "$(dirname "$0")/lib.bash"

# The real ones are links, in a folder of their own: nothing is ever written there.
mkdir -p project/src real bin
cp -r "$here/../../scripts" project
touch project/CMakeLists.txt
for command in bash dirname cat mktemp tee awk grep rm mkdir flock env find; do
  ln -s "$(command -v "$command")" "real/$command"
done

# stand_in NAME BODY
stand_in() {
  printf '#!/bin/bash\n%s\n' "$2" >"bin/$1"
  chmod +x "bin/$1"
}
stand_in id 'echo 1000'
stand_in dpkg-query 'echo installed'
stand_in cmake 'if [[ $1 == --build ]]; then
  for ((i = 1; i <= 40; ++i)); do echo "[$i/40] Building a file"; done
  echo "the disk is full"
  exit ${build_fails-0}
fi'

# run EXPECTED: what it says is in the file err.
run() {
  local got=0
  PATH=$folder/bin:$folder/real TMPDIR=$folder bash project/scripts/run.sh vm.qcow2 >out 2>err || got=$?
  ((got == $1)) || fail "exit code $got, not $1"
}

# While it builds, it shows how far it has come. (There is nothing to be run afterwards.)
run 127
says err '^building qcow2-dump in .*/project/build'
says err '^  20 of 40 steps$'
[[ $(grep -c ' steps$' err) == 10 ]] || fail "not ten lines of progress"

# A build that fails shows why, and the log that it names is there.
export build_fails=1
run 255
unset build_fails
says err '^the disk is full$'
[[ -s $(sed -n 's/^failed: .*(log: \(.*\))$/\1/p' err) ]] || fail "no log"

# Without root and without sudo: the one command.
stand_in dpkg-query '[[ ${!#} == zlib1g-dev ]] || echo installed'
run 255
says err '^  apt-get install --no-install-recommends zlib1g-dev$'

# With sudo it installs; if that fails, the log and the command are named.
stand_in sudo 'shift 2; "$@"'
stand_in env 'shift; "$@"'
stand_in apt-get 'echo "no network"; exit 100'
run 255
says err '^reading the list of packages'
says err '^no network$'
says err '^  apt-get install --no-install-recommends zlib1g-dev$'
[[ -s $(sed -n 's/^failed: .*(log: \(.*\))$/\1/p' err) ]] || fail "no log"
