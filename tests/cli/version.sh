#!/usr/bin/env bash
# -v: the version, and the libraries with theirs.
source "$(dirname "$0")/lib.bash"

code 0 -v
says out '^qcow2-dump [0-9]+\.[0-9]+'
for library in CLI11 fmt libdeflate oneTBB RapidJSON tl-expected zlib zstd; do
  says out "^ *$library +[0-9]+\.[0-9]"
done
code 0 --version
