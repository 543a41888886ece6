# shellcheck shell=bash
# Images of every kind that the format knows, with two snapshots each, and what QEMU makes of them. For the commands that
# change an image by name.
source "$here/lib.bash"

# The kinds. After the first snapshot something is written over, after the second something else.
declare -A kinds=(
  [plain]='size=16M'
  [v2]='size=16M compat=0.10'
  [512]='size=4M cluster_size=512'
  [2M]='size=64M cluster_size=2M'
  [refcount-1]='size=16M refcount_bits=1'
  [refcount-64]='size=16M refcount_bits=64'
  [extended-l2]='size=16M extended_l2=on cluster_size=16k'
  [compressed]='size=16M'
  [zstd]='size=16M compression_type=zstd'
  [luks]='size=16M encrypt.format=luks encrypt.iter-time=10'
  [bitmaps]='size=16M cluster_size=4k'
  [backing]='size=16M backing=base.raw backing_fmt=raw'
  [resized]='size=16M cluster_size=4k'
  [vm-state]='size=16M cluster_size=4k'
  [lazy]='size=16M lazy_refcounts=on'
)

# These can't have snapshots.
declare -A without_snapshots=(
  [data-file]='size=16M data_file=data.raw'
  [data-file-raw]='size=16M data_file=data.raw data_file_raw=on'
)

# The kinds that a script goes through: with_snapshots, and all_kinds, which takes in those that have none. If BRIEF is
# set, only those whose header and tables differ most; CI doesn't set it.
with_snapshots=("${!kinds[@]}") all_kinds=("${!kinds[@]}" "${!without_snapshots[@]}")
if [[ -v BRIEF ]]; then
  with_snapshots=(plain 512 extended-l2 compressed resized)
  all_kinds=("${with_snapshots[@]}" v2 data-file)
fi

recipe() {
  local kind=$1 write=write
  if [[ -v without_snapshots[$kind] ]]; then
    printf '%s\n' "create ${without_snapshots[$kind]}" 'write 0 1M pattern=0x11' 'write 2M 256k pattern=0x12'
    return
  fi
  if [[ $kind == backing ]]; then echo 'file base.raw 16M pattern=0x77'; fi
  echo "create ${kinds[$kind]}"
  if [[ $kind == bitmaps ]]; then printf 'bitmap daily granularity=64k\nbitmap hourly granularity=512\n'; fi
  if [[ $kind == compressed || $kind == zstd ]]; then write=compressed-write; fi
  if [[ $kind == refcount-1 ]]; then
    # Nothing can be shared: the snapshots are those of an empty disk.
    printf 'snapshot first\nsnapshot second\nwrite 0 1M pattern=0x11\n'
    return
  fi
  echo "$write 0 1M pattern=0x11"
  echo 'write 2M 256k pattern=0x12'
  if [[ $kind == vm-state ]]; then echo 'vm-state 16M 300k pattern=0x51'; fi
  echo 'snapshot first'
  if [[ $kind == resized ]]; then echo 'resize 24M'; fi
  echo 'write 512k 1M pattern=0x22'
  if [[ $kind == resized ]]; then echo 'write 20M 1M pattern=0x23'; fi
  echo 'snapshot second'
  if [[ $kind == resized ]]; then echo 'resize 32M'; fi
  # With the smallest clusters, no L2 table shall be shared any more.
  if [[ $kind == 512 ]]; then echo 'write 0 3M pattern=0x34'; fi
  echo 'write 256k 512k pattern=0x33'
  echo 'zero 2M 64k'
}

# of_kind KIND: the folder made/KIND has image.qcow2 and whatever goes with it.
of_kind() {
  [[ ! -d made/$1 ]] || return 0
  recipe "$1" >recipe
  python3 "$here/../tools/mkimage.py" recipe "made/$1" || fail "image of kind $1"
}

# case_of KIND: a fresh copy of it in the folder `case`.
case_of() {
  of_kind "$1"
  rm -rf case
  cp -rp "made/$1" case
  # QEMU looks for a data file from the working folder.
  if [[ -v without_snapshots[$1] ]]; then ln -sf case/data.raw data.raw; fi
}

# How QEMU opens an image of a kind: sets `opened`, to stand before other arguments.
opening() {
  opened=(--image-opts "driver=qcow2,file.filename=$2")
  if [[ $1 == luks ]]; then
    opened=(--object secret,id=key,data=secret --image-opts "driver=qcow2,encrypt.key-secret=key,file.filename=$2")
  fi
}

# reads KIND IMAGE [SNAPSHOT]: a checksum of what the guest reads. Of a snapshot, QEMU reads as much as the active disk
# has; so of images whose disk was resized, what all states have is compared, and all of it where the state is active.
reads() {
  opening "$1" "$2"
  qemu-img convert -q ${3:+-l "snapshot.name=${3//,/,,}"} -O raw "${opened[@]}" guest.raw || fail "$1: QEMU can't read $2"
  if [[ $1 == resized && -z ${whole-} ]]; then truncate -s 16M guest.raw; fi
  cksum <guest.raw
}

# qemu KIND IMAGE VERB ARGUMENT…: qemu-img on it.
qemu() {
  opening "$1" "$2"
  qemu-img "$3" -q "${@:4}" "${opened[@]}"
}

# snapshots IMAGE: the size of the disk, and their IDs, names and sizes, as QEMU lists them.
snapshots() {
  local line size list=
  local -A is=()
  while IFS= read -r line; do
    if [[ $line =~ ^\ {4}\"virtual-size\":\ ([0-9]+) ]]; then
      size=${BASH_REMATCH[1]}
    elif [[ $line =~ ^\ {12}\"(id|name|vm-state-size)\":\ (.*[^,]) ]]; then
      is[${BASH_REMATCH[1]}]=${BASH_REMATCH[2]//\"/\'}
    elif [[ $line == '        }'* && -v is[id] ]]; then
      list+=", (${is[id]}, ${is[name]}, ${is[vm-state-size]})" is=()
    fi
  done < <(qemu-img info --output=json "$1")
  echo "$size [${list#, }]"
}

# clean KIND IMAGE: neither QEMU nor we find anything wrong with it. What QEMU counts is in the file check.log.
clean() {
  qemu "$1" "$2" check --output=json >check.log 2>&1 || fail "$1: $(cat check.log)"
  code 0 -m error "$2"
  says_not out '^(ERROR|LEAK)'
}

# flipped IMAGE ORIGINAL OFFSET BITS: the byte there is another by these bits, and no other byte is.
flipped() {
  local at old new more
  read -rd '' at old new more < <(cmp -l "$2" "$1" 2>&1) || true
  [[ -n $at && -z $more ]] && ((at == $3 + 1 && (8#$old ^ 8#$new) == $4)) || fail "$1 isn't $2 with another byte at $3"
}

# taken_back IMAGE ORIGINAL: the log does it, to the byte.
taken_back() { undone "$1" "$1.undo" "$2"; }
