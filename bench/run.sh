#!/usr/bin/env bash
# Measures qcow2-dump against qemu-img check on large sparse images and prints Markdown tables. See bench/README.md.
#
# The two run in turn, so that whatever else the machine does meets both; the ratio is the median over the pairs.
# Every image is read once before, unmeasured: what is compared is the work, with the tables in the page cache.
set -euo pipefail
export LC_ALL=C

usage() {
  cat <<'END'
usage: bench/run.sh [options]
  --size SIZE    virtual size of the images (default 2T; 64G is a quick version)
  --pairs N      runs of each command (default 3)
  -j, --jobs N   threads of qcow2-dump (default: all cores); -j 1 is measured beside it
  --only NAME    inorder, snap7-own, snap7-shared, runs, random, repair or dump; may be repeated
  --all          run qemu-img check on "runs", too (2T: about a minute a run)
  --dir DIR      make the images in DIR, keep them, and use those that are there (default: a scratch folder under
                 ${TMPDIR:-/tmp}, removed at the end); five images of 2T take 4 GB of disk
  --fresh        make the images even if they are there
  --images       only make the images
  --ours FILE    the program to measure (default: build/qcow2-dump, built if missing)
END
}

die() { echo "bench/run.sh: $*" >&2; exit 1; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
size=2T pairs=3 jobs=$(nproc) dir='' ours='' fresh=no qemu_on_runs=no images_only=no
only=()

while (($#)); do
  case $1 in
    --size | --pairs | -j | --jobs | --only | --dir | --ours) (($# > 1)) || die "$1: value is missing" ;;
  esac
  case $1 in
    --size) size=$2; shift ;;
    --pairs) pairs=$2; shift ;;
    -j | --jobs) jobs=$2; shift ;;
    --only) only+=("$2"); shift ;;
    --dir) dir=$2; shift ;;
    --ours) ours=$2; shift ;;
    --all) qemu_on_runs=yes ;;
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

# ---- The images ------------------------------------------------------------------------------------------------------

declare -A recipe=(
  [inorder]='--layout in-order'
  [snap7-own]='--layout in-order --snapshots 7 --l2 own'
  [snap7-shared]='--layout in-order --snapshots 7 --l2 shared'
  [runs]='--layout runs'
  [random]='--layout random'
)
declare -A title=(
  [inorder]='in order'
  [snap7-own]='7 snapshots, own L2 tables'
  [snap7-shared]='7 snapshots, shared L2 tables'
  [runs]='runs of 1 to 64 clusters'
  [random]='every cluster at a random place'
)
all_names=(inorder snap7-own snap7-shared runs random)

for name in ${only[@]+"${only[@]}"}; do
  [[ $name == dump || $name == repair || -v "recipe[$name]" ]] || die "--only: unknown image $name"
done

wanted() {
  ((${#only[@]})) || return 0
  local name
  for name in "${only[@]}"; do [[ $name == "$1" ]] && return 0; done
  return 1
}

# The tools are one source file each, so they need no configured build tree.
build_tool() {
  local tool=$root/build/bench/$1 source
  for source in "$root/bench/$1.cc" "$root"/bench/*.h; do
    if [[ ! -x $tool || $source -nt $tool ]]; then
      mkdir -p "$root/build/bench"
      "${CXX:-c++}" -std=c++20 -O2 -I "$root/src" "$root/bench/$1.cc" -o "$tool"
      return
    fi
  done
}

build_ours() {
  [[ -z $ours ]] || return 0
  ours=$root/build/qcow2-dump
  [[ -x $ours ]] || (cd "$root" && cmake --preset release && cmake --build build --parallel) >&2
}

# The generator writes the header last, so a file with the right size in its header is a whole image.
is_made() {
  [[ $fresh == no && -s $1 ]] || return 1
  [[ $(od -An -tx1 -N4 "$1") == ' 51 46 49 fb' ]] &&
    [[ $(od -An -tu8 --endian=big -j24 -N8 "$1" | tr -d ' ') == "$size_bytes" ]]
}

make_images() {
  local name
  for name in "${all_names[@]}"; do
    wanted "$name" || { [[ $name == inorder ]] && { wanted dump || wanted repair; }; } || continue
    is_made "$dir/$name.qcow2" && continue
    echo "making $name.qcow2 ($size) ..." >&2
    # shellcheck disable=SC2086  # a recipe is several words
    "$root/build/bench/make_image" "$dir/$name.qcow2" --size "$size_bytes" ${recipe[$name]}
  done
}

# ---- Measuring -------------------------------------------------------------------------------------------------------

# measure COMMAND...: sets seconds and peak (KiB). A command that fails ends the benchmark: its time would mean nothing.
measure() {
  local status
  read -r seconds peak status < <("$root/build/bench/measure" "$@") || die "can't run: $*"
  ((status == 0)) || die "exit status $status from: $*"
}

median() { printf '%s\n' "$@" | sort -g | awk '{v[NR] = $1} END {print (v[int((NR+1)/2)] + v[int((NR+2)/2)]) / 2}'; }
biggest() { printf '%s\n' "$@" | sort -g | tail -n 1; }
divide() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.6f", a / b}'; }
# Three significant digits.
show() { awk -v x="$1" 'BEGIN {printf (x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : x >= 1 ? "%.2f" : "%.3f"), x}'; }
mib() { awk -v kib="$1" 'BEGIN {printf "%.1f MiB", kib / 1024}'; }

reference=''  # median seconds of qemu-img check on the first image

qemu_runs_on() {
  case $1 in
    random) return 1 ;;  # 22 minutes at 2T
    runs) [[ $qemu_on_runs == yes ]] ;;
  esac
}

bench_check() {
  local name=$1 image=$dir/$1.qcow2 i seconds peak
  local -a ours_s=() one_s=() qemu_s=() ratios=() peaks=()
  measure "$ours" -j "$jobs" "$image"
  for ((i = 1; i <= pairs; ++i)); do
    echo "$name: pair $i of $pairs" >&2
    measure "$ours" -j "$jobs" "$image"
    ours_s+=("$seconds") peaks+=("$peak")
    if qemu_runs_on "$name"; then
      measure qemu-img check "$image"
      ratios+=("$(divide "$seconds" "${ours_s[-1]}")")
      qemu_s+=("$seconds")
    fi
    measure "$ours" -j 1 "$image"
    one_s+=("$seconds")
  done

  local qemu='not run' ratio='' ours_median
  ours_median=$(median "${ours_s[@]}")
  if ((${#qemu_s[@]})); then
    qemu=$(show "$(median "${qemu_s[@]}")")
    ratio="$(show "$(median "${ratios[@]}")") ×"
    [[ $name == inorder ]] && reference=$(median "${qemu_s[@]}")
  elif [[ $reference ]]; then
    ratio="$(show "$(divide "$reference" "$ours_median")") × of the first"
  fi
  printf '| %s %s | %s | %s | %s | %s | %s |\n' "$size" "${title[$name]}" "$(show "$ours_median")" "$qemu" \
    "${ratio:--}" "$(mib "$(biggest "${peaks[@]}")")" "$(show "$(median "${one_s[@]}")")"
}

bench_checks() {
  local name
  local images=("${only[@]/%dump/}")
  images=("${images[@]/%repair/}")
  [[ ${#only[@]} == 0 || "${images[*]}" =~ [a-z] ]] || return 0
  echo "| image | ours -j $jobs, s | qemu-img check, s | ratio | peak memory of ours | ours -j 1, s |"
  echo '|---|---:|---:|---:|---:|---:|'
  for name in "${all_names[@]}"; do
    if wanted "$name"; then bench_check "$name"; fi
  done
  echo
}

bench_dump() {
  local image=$dir/inorder.qcow2 bytes j i seconds peak
  # shellcheck disable=SC2016  # for the inner shell
  local pipe='set -o pipefail; "$0" -m dump -j "$1" "$2" | cat > /dev/null'
  bytes=$("$ours" -m dump -j "$jobs" "$image" | wc -c) || die "failed: $ours -m dump -j $jobs $image"
  echo '| dump into a pipe | text, MB | time, s | MB of text a second | peak memory of ours |'
  echo '|---|---:|---:|---:|---:|'
  for j in $(printf '%s\n' "$jobs" 1 | uniq); do
    local -a times=() peaks=()
    for ((i = 1; i <= pairs; ++i)); do
      echo "dump -j $j: run $i of $pairs" >&2
      measure bash -c "$pipe" "$ours" "$j" "$image"
      times+=("$seconds") peaks+=("$peak")
    done
    seconds=$(median "${times[@]}")
    printf '| %s in order, -j %s | %d | %s | %.0f | %s |\n' "$size" "$j" "$((bytes / 1000000))" "$(show "$seconds")" \
      "$(divide "$((bytes / 1000000))" "$seconds")" "$(mib "$(biggest "${peaks[@]}")")"
  done
}

# lose_refcounts IMAGE COPY: a copy whose refcount table is all zeros. Nothing but the mapping is left to count from.
lose_refcounts() {
  local offset clusters
  rm -f "$2" "$2".undo*
  cp --sparse=always --reflink=auto "$1" "$2"
  offset=$(od -An -tu8 --endian=big -j48 -N8 "$2" | tr -d ' ')
  clusters=$(od -An -tu4 --endian=big -j56 -N4 "$2" | tr -d ' ')
  dd if=/dev/zero of="$2" bs=65536 seek="$((offset / 65536))" count="$clusters" conv=notrunc status=none
  sync "$2"
}

bench_repair() {
  local image=$dir/inorder.qcow2 copy=$dir/repair.qcow2 i seconds peak
  local -a ours_s=() qemu_s=() ratios=() peaks=()
  for ((i = 1; i <= pairs; ++i)); do
    echo "repair: pair $i of $pairs" >&2
    lose_refcounts "$image" "$copy"
    measure "$ours" -R all -j "$jobs" "$copy"
    ours_s+=("$seconds") peaks+=("$peak")
    lose_refcounts "$image" "$copy"
    # It names each cluster on stderr: writing that to a terminal or a file would be measured, too.
    # shellcheck disable=SC2016  # for the inner shell
    measure bash -c 'exec qemu-img check -r all "$0" 2> /dev/null' "$copy"
    qemu_s+=("$seconds") ratios+=("$(divide "$seconds" "${ours_s[-1]}")")
  done
  rm -f "$copy" "$copy".undo*
  echo "| all refcounts rebuilt | ours -R all -j $jobs, s | qemu-img check -r all, s | ratio | peak memory of ours |"
  echo '|---|---:|---:|---:|---:|'
  printf '| %s in order | %s | %s | %s × | %s |\n' "$size" "$(show "$(median "${ours_s[@]}")")" \
    "$(show "$(median "${qemu_s[@]}")")" "$(show "$(median "${ratios[@]}")")" "$(mib "$(biggest "${peaks[@]}")")"
  echo
}

# ---- Main ------------------------------------------------------------------------------------------------------------

build_tool make_image
build_tool measure
if [[ $dir ]]; then
  mkdir -p "$dir"
else
  dir=$(mktemp -d "${TMPDIR:-/tmp}/qcow2-bench.XXXXXX")
  trap 'rm -rf "$dir"' EXIT
fi
make_images
[[ $images_only == no ]] || exit 0

command -v qemu-img > /dev/null || die "qemu-img is missing (package qemu-utils)"
build_ours
commit=$(git -C "$root" describe --always --dirty 2> /dev/null || echo unknown)
tools="qcow2-dump at commit $commit, $(qemu-img --version | head -n 1)"
echo "$tools, $(nproc) cores, $pairs pairs, tables in the page cache"
echo
bench_checks
if wanted repair; then bench_repair; fi
if wanted dump; then bench_dump; fi
