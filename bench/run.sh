#!/usr/bin/env bash
# Measures qcow2-dump against qemu-img check, and against the time that reading alone takes, on large sparse images, and
# prints Markdown tables. See bench/README.md.
#
# The programs compared run in turn, so whatever else the machine does meets all of them; a ratio is the median over the
# pairs. Except in the row "cold", every image is read once before, unmeasured: its tables are in the page cache.
set -euo pipefail
export LC_ALL=C

usage() {
  cat <<'END'
usage: bench/run.sh [options]
  --size SIZE    virtual size of the images (default 2T; 64G is a quick version)
  --pairs N      runs of each command, in turn (default 5)
  -j, --jobs N   threads of qcow2-dump (default: all cores); -j 1 is measured beside it
  --only ROW     may be repeated: inorder, snap7-own, snap7-shared, runs, random, repair, dump, compressed, cold, big.
                 All but "big" are the default
  --dir DIR      make the images in DIR, keep them, and use those that are there (default: a scratch folder under
                 ${TMPDIR:-/tmp}, removed at the end); those of 2T take 8 GB of disk, and 8 more while they are made
  --big-dir DIR  where the image of the row "big" is made, and removed at the end (default: with the others). It is
                 32 times SIZE: 64T, with 11 GB of tables, needs XFS or tmpfs; /dev/shm with 16 GB of memory will do
  --fresh        make the images even if they are there
  --images       only make the images
  --ours FILE    the program to measure (default: build/qcow2-dump, built from this folder)
END
}

die() { echo "bench/run.sh: $*" >&2; exit 1; }

checks=(inorder snap7-own snap7-shared runs random)
rows=("${checks[@]}" repair dump compressed cold)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/build/bench
size=2T pairs=5 jobs=$(nproc) dir='' big_dir='' ours='' fresh=no images_only=no
only=()

while (($#)); do
  case $1 in
    --size | --pairs | -j | --jobs | --only | --dir | --big-dir | --ours) (($# > 1)) || die "$1: value is missing" ;;
  esac
  case $1 in
    --size) size=$2; shift ;;
    --pairs) pairs=$2; shift ;;
    -j | --jobs) jobs=$2; shift ;;
    --only) only+=("$2"); shift ;;
    --dir) dir=$2; shift ;;
    --big-dir) big_dir=$2; shift ;;
    --ours) ours=$2; shift ;;
    --fresh) fresh=yes ;;
    --images) images_only=yes ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "unknown option $1" ;;
  esac
  shift
done
[[ $pairs =~ ^[1-9][0-9]*$ ]] || die "--pairs: not a positive number: $pairs"
[[ $jobs =~ ^[1-9][0-9]*$ ]] || die "--jobs: not a positive number: $jobs"
size_bytes=$(numfmt --from=iec "$size") || die "--size: not a size: $size"
big_bytes=$((size_bytes * 32))
compressed_bytes=$((size_bytes / 256))  # of guest data: 8 GiB beside images of 2T
for row in ${only[@]+"${only[@]}"}; do
  [[ " ${rows[*]} big " == *" $row "* ]] || die "--only: unknown row $row"
done
((${#only[@]})) || only=("${rows[@]}")

# wanted ROW...: is any of them?
wanted() {
  local row
  for row; do
    if [[ " ${only[*]} " == *" $row "* ]]; then return 0; fi
  done
  return 1
}

# ---- The programs and the images -------------------------------------------------------------------------------------

# The tools are one source file each, so they need no configured build tree.
build_tool() {
  local tool=$tools/$1 source
  for source in "$root/bench/$1.cc" "$root"/bench/*.h; do
    if [[ ! -x $tool || $source -nt $tool ]]; then
      mkdir -p "$tools"
      "${CXX:-c++}" -std=c++20 -O2 -pthread -I "$root/src" "$root/bench/$1.cc" -o "$tool" "${@:2}"
      return
    fi
  done
}

build_ours() {
  measured=$ours
  [[ -z $ours ]] || return 0
  ours=$root/build/qcow2-dump
  measured="qcow2-dump at commit $(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)"
  (cd "$root" && cmake --preset release && cmake --build build --parallel) >&2
}

declare -A recipe=(
  [inorder]='--layout in-order'
  [snap7-own]='--layout in-order --snapshots 7 --l2 own'
  [snap7-shared]='--layout in-order --snapshots 7 --l2 shared'
  [runs]='--layout runs'
  [random]='--layout random'
  [big]='--layout in-order'
)

# is_made FILE BYTES: make_image writes the header last, and what is converted gets its name last. So a file with the
# right size in its header is a whole image.
is_made() {
  [[ $fresh == no && -s $1 && $(od -An -tx1 -N4 "$1") == ' 51 46 49 fb' ]] && [[ $(header "$1" 24 8) == "$2" ]]
}
# header IMAGE OFFSET LENGTH: a number in an image's header.
header() { od -An -tu"$3" --endian=big -j"$2" -N"$3" "$1" | tr -d ' '; }

# room FOLDER BYTES: ends the benchmark where they don't fit.
room() {
  local free
  free=$(df --output=avail -B1 "$1" | tail -n 1)
  ((free >= $2)) || die "$1: $(numfmt --to=si "$2") bytes are needed, $(numfmt --to=si "$free") are free"
}

# make_image NAME FOLDER BYTES
make_image() {
  local file=$2/$1.qcow2
  is_made "$file" "$3" && return
  echo "making $1.qcow2 ($(numfmt --to=iec "$3")) ..." >&2
  # shellcheck disable=SC2086  # a recipe is several words
  "$tools/make_image" "$file" --size "$3" ${recipe[$1]}
}

make_compressed() {
  local file=$dir/compressed.qcow2
  is_made "$file" "$compressed_bytes" && return
  echo "making compressed.qcow2 ($(numfmt --to=iec "$compressed_bytes") of data) ..." >&2
  room "$dir" $((compressed_bytes * 8 / 5))
  leftovers+=("$file.raw" "$file.new")
  "$tools/make_text" "$compressed_bytes" >"$file.raw"
  qemu-img convert -f raw -O qcow2 -c -W -m 16 "$file.raw" "$file.new"
  rm -f "$file.raw"
  mv "$file.new" "$file"
}

make_big() {
  if [[ $big_dir ]]; then
    big_dir=$(mktemp -d "$big_dir/qcow2-bench.XXXXXX")
    leftovers+=("$big_dir")
  else
    big_dir=$dir
  fi
  is_made "$big_dir/big.qcow2" "$big_bytes" && return
  rm -f "$big_dir/big.qcow2"
  leftovers+=("$big_dir/probe")
  truncate -s $((big_bytes + big_bytes / 4096)) "$big_dir/probe" 2> /dev/null ||
    die "$big_dir: its file system takes no file of $(numfmt --to=iec "$big_bytes"); give --big-dir on XFS or tmpfs"
  rm -f "$big_dir/probe"
  room "$big_dir" $((big_bytes / 8192 + big_bytes / 32768))  # L2 tables, refcount blocks
  make_image big "$big_dir" "$big_bytes"
}

make_images() {
  local name
  for name in "${checks[@]}"; do
    if wanted "$name" || { [[ $name == inorder ]] && wanted runs random repair dump cold big; }; then
      make_image "$name" "$dir" "$size_bytes"
    fi
  done
  if wanted compressed; then make_compressed; fi
  if wanted big; then make_big; fi
}

# ---- Measuring -------------------------------------------------------------------------------------------------------

# The seconds and peaks (KiB) of the present table row, each by a name: lists, with an entry for each pair.
declare -A seconds peaks

# take NAME COMMAND...: measures it once. One that fails ends the benchmark: its time would mean nothing.
take() {
  local name=$1 s peak status
  shift
  read -r s peak status < <("$tools/measure" "$@") || die "can't run: $*"
  ((status == 0)) || die "exit status $status from: $*"
  seconds[$name]+=" $s" peaks[$name]+=" $peak"
}
# Once, unmeasured: for the page cache.
warm_up() { take warm_up "$@"; }
start_row() { seconds=() peaks=(); }
pair() { echo "$1: $2 of $pairs" >&2; }

median() { tr ' ' '\n' | sort -g | awk 'NF {v[++n] = $1} END {print (v[int((n+1)/2)] + v[int((n+2)/2)]) / 2}'; }
time_of() { median <<< "${seconds[$1]}"; }
# ratio A B: the median of A / B over the pairs.
ratio() {
  paste <(tr ' ' '\n' <<< "${seconds[$1]}") <(tr ' ' '\n' <<< "${seconds[$2]}") | awk 'NF {print $1 / $2}' | median
}

# Three significant digits.
show() { awk -v x="$1" 'BEGIN {printf (x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : x >= 1 ? "%.2f" : "%.3f"), x}'; }
show_time() { show "$(time_of "$1")"; }
show_ratio() { printf '%s ×' "$(show "$(ratio "$1" "$2")")"; }
show_share() { awk -v x="$(ratio "$1" "$2")" 'BEGIN {printf "%.0f %%", 100 * x}'; }
show_peak() { tr ' ' '\n' <<< "${peaks[$1]}" | sort -g | awk 'END {printf "%.1f MiB", $1 / 1024}'; }
# show_rate MEGABYTES NAME
show_rate() { awk -v mb="$1" -v s="$(time_of "$2")" 'BEGIN {printf "%.0f", mb / s}'; }
cells() { printf '|'; printf ' %s |' "$@"; echo; }

# ---- The tables ------------------------------------------------------------------------------------------------------

declare -A title=(
  [inorder]='in order'
  [snap7-own]='7 snapshots, own L2 tables'
  [snap7-shared]='7 snapshots, shared L2 tables'
  [runs]='runs of 1 to 64 clusters'
  [random]='every cluster at a random place'
)

# Where clusters lie in disorder, qemu-img check takes minutes to hours: there its time on the first image is compared.
bench_check() {
  local name=$1 image=$dir/$1.qcow2 qemu_image=$1 first='' i
  case $name in runs | random) qemu_image=inorder first=' on the first' ;; esac
  start_row
  warm_up "$ours" -j "$jobs" "$image"
  warm_up qemu-img check "$dir/$qemu_image.qcow2"
  for ((i = 1; i <= pairs; ++i)); do
    pair "$name" "$i"
    take ours "$ours" -j "$jobs" "$image"
    take qemu qemu-img check "$dir/$qemu_image.qcow2"
    take floor "$tools/floor" -j "$jobs" "$image"
    take one "$ours" -j 1 "$image"
  done
  cells "$size ${title[$name]}" "$(show_time ours)" "$(show_time one)" "$(show_time qemu)$first" \
    "$(show_ratio qemu ours)" "$(show_time floor)" "$(show_share floor ours)" "$(show_peak ours)"
}

bench_checks() {
  local name
  wanted "${checks[@]}" || return 0
  cells "check" "ours -j $jobs, s" 'ours -j 1, s' 'qemu-img check, s' 'ratio' 'reading alone, s' 'its share of ours' \
    'peak memory of ours'
  echo '|---|---:|---:|---:|---:|---:|---:|---:|'
  for name in "${checks[@]}"; do
    if wanted "$name"; then bench_check "$name"; fi
  done
  echo
}

bench_big() {
  local image=$big_dir/big.qcow2 i
  start_row
  warm_up "$ours" -j "$jobs" "$image"
  warm_up "$ours" -j "$jobs" "$dir/inorder.qcow2"
  for ((i = 1; i <= pairs; ++i)); do
    pair big "$i"
    take first "$ours" -j "$jobs" "$dir/inorder.qcow2"
    take ours "$ours" -j "$jobs" "$image"
    take floor "$tools/floor" -j "$jobs" "$image"
    take one "$ours" -j 1 "$image"
  done
  cells 'check' "ours -j $jobs, s" 'ours -j 1, s' "ours on $size, s" 'ratio' 'reading alone, s' 'its share of ours' \
    'peak memory of ours'
  echo '|---|---:|---:|---:|---:|---:|---:|---:|'
  cells "$(numfmt --to=iec "$big_bytes") in order" "$(show_time ours)" "$(show_time one)" "$(show_time first)" \
    "$(show_ratio ours first)" "$(show_time floor)" "$(show_share floor ours)" "$(show_peak ours)"
  echo
}

# lose_refcounts IMAGE COPY: a copy whose refcount table is all zeros. Nothing but the mapping is left to count from.
lose_refcounts() {
  rm -f "$2" "$2".undo*
  cp --sparse=always --reflink=auto "$1" "$2"
  dd if=/dev/zero of="$2" bs=65536 seek=$(($(header "$2" 48 8) / 65536)) count="$(header "$2" 56 4)" conv=notrunc \
    status=none
  sync "$2"
}

bench_repair() {
  local image=$dir/inorder.qcow2 copy=$dir/repair.qcow2 i
  leftovers+=("$copy" "$copy.undo")
  start_row
  for ((i = 1; i <= pairs; ++i)); do
    pair repair "$i"
    lose_refcounts "$image" "$copy"
    take ours "$ours" -R all -j "$jobs" "$copy"
    lose_refcounts "$image" "$copy"
    take one "$ours" -R all -j 1 "$copy"
    lose_refcounts "$image" "$copy"
    # It names each cluster on stderr: writing that to a terminal or a file would be measured, too.
    # shellcheck disable=SC2016  # for the inner shell
    take qemu bash -c 'exec qemu-img check -r all "$0" 2> /dev/null' "$copy"
  done
  rm -f "$copy" "$copy".undo*
  cells 'all refcounts rebuilt' "ours -R all -j $jobs, s" 'ours -j 1, s' 'qemu-img check -r all, s' 'ratio' \
    'peak memory of ours'
  echo '|---|---:|---:|---:|---:|---:|'
  cells "$size in order" "$(show_time ours)" "$(show_time one)" "$(show_time qemu)" "$(show_ratio qemu ours)" \
    "$(show_peak ours)"
  echo
}

bench_dump() {
  local image=$dir/inorder.qcow2 megabytes i
  # shellcheck disable=SC2016  # for the inner shell
  local pipe='set -o pipefail; "$0" -m dump -j "$1" "$2" | cat > /dev/null'
  megabytes=$(($("$ours" -m dump -j "$jobs" "$image" | wc -c) / 1000000)) || die "failed: $ours -m dump $image"
  start_row
  for ((i = 1; i <= pairs; ++i)); do
    pair dump "$i"
    take ours bash -c "$pipe" "$ours" "$jobs" "$image"
    take one bash -c "$pipe" "$ours" 1 "$image"
  done
  cells 'dump into a pipe' 'text, MB' "ours -j $jobs, s" 'MB of text a second' 'ours -j 1, s' 'MB a second' \
    'peak memory of ours'
  echo '|---|---:|---:|---:|---:|---:|---:|'
  cells "$size in order" "$megabytes" "$(show_time ours)" "$(show_rate "$megabytes" ours)" "$(show_time one)" \
    "$(show_rate "$megabytes" one)" "$(show_peak ours)"
  echo
}

# Ours is the whole program: it finds the clusters, reads and checks them. Of libdeflate only its own work is measured.
bench_compressed() {
  local image=$dir/compressed.qcow2 megabytes=$((compressed_bytes / 1000000)) i bytes s
  start_row
  warm_up "$ours" -c -j "$jobs" "$image"
  for ((i = 1; i <= pairs; ++i)); do
    pair compressed "$i"
    take ours "$ours" -c -j "$jobs" "$image"
    read -r bytes s < <("$tools/inflate" -j "$jobs" "$image") || die "failed: inflate $image"
    ((bytes == compressed_bytes)) || die "$image has $bytes bytes in compressed clusters"
    seconds[alone]+=" $s"
    take one "$ours" -c -j 1 "$image"
  done
  cells 'compressed clusters' "ours -c -j $jobs, s" "MB a second of guest data" "libdeflate alone on $jobs threads" \
    'ratio' 'ours -j 1, s' 'peak memory of ours'
  echo '|---|---:|---:|---:|---:|---:|---:|'
  cells "$(numfmt --to=iec "$compressed_bytes") of text" "$(show_time ours)" "$(show_rate "$megabytes" ours)" \
    "$(show_rate "$megabytes" alone)" "$(show_ratio alone ours)" "$(show_time one)" "$(show_peak ours)"
  echo
}

# Nothing of the file stays in the page cache. It needs no root, but nobody else may have the file mapped.
forget() {
  sync "$1"
  dd if="$1" iflag=nocache count=0 status=none
}

bench_cold() {
  local image=$dir/inorder.qcow2 i
  start_row
  for ((i = 1; i <= pairs; ++i)); do
    pair cold "$i"
    forget "$image"
    take ours "$ours" -j "$jobs" "$image"
    forget "$image"
    take nocache "$ours" -N -j "$jobs" "$image"
    forget "$image"
    take floor "$tools/floor" -j "$jobs" "$image"
    forget "$image"
    take wide "$tools/floor" -j 16 "$image"
  done
  cells 'check with a cold cache' "ours -j $jobs, s" 'ours -N, s' 'ratio' 'reading alone, s' 'its share of ours' \
    '16 reads at a time, s' 'its share of ours' 'peak memory of ours'
  echo '|---|---:|---:|---:|---:|---:|---:|---:|---:|'
  cells "$size in order" "$(show_time ours)" "$(show_time nocache)" "$(show_ratio nocache ours)" \
    "$(show_time floor)" "$(show_share floor ours)" "$(show_time wide)" "$(show_share wide ours)" "$(show_peak ours)"
  echo
}

# ---- Main ------------------------------------------------------------------------------------------------------------

command -v qemu-img > /dev/null || die "qemu-img is missing (package qemu-utils)"
for tool in make_image make_text measure floor; do build_tool $tool; done
if wanted compressed; then build_tool inflate -ldeflate; fi

leftovers=()
trap 'rm -rf ${leftovers[@]+"${leftovers[@]}"}' EXIT
if [[ $dir ]]; then
  mkdir -p "$dir"
else
  dir=$(mktemp -d "${TMPDIR:-/tmp}/qcow2-bench.XXXXXX")
  leftovers+=("$dir")
fi
if wanted cold && [[ $(stat -f -c %T "$dir") == tmpfs ]]; then
  die "$dir: files on tmpfs are never cold; take another --dir, or with --only all rows but \"cold\""
fi
make_images
[[ $images_only == no ]] || exit 0

build_ours
echo "$measured, $(qemu-img --version | head -n 1), $(nproc) cores, $pairs pairs"
echo
bench_checks
if wanted big; then bench_big; fi
if wanted repair; then bench_repair; fi
if wanted dump; then bench_dump; fi
if wanted compressed; then bench_compressed; fi
if wanted cold; then bench_cold; fi
