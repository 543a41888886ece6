#!/usr/bin/env bash
# With -b no file but the image is opened, whatever it names and in whatever mode; without it, a name that can be that of
# any file is told, and what is no file isn't opened.
source "$(dirname "$0")/lib.bash"

command -v strace >/dev/null && strace -o trace true 2>err || exit 77

image base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 vm.qcow2 64M
qemu-img create -q -f qcow2 -o data_file=vm.data data.qcow2 64M
qemu-io -f qcow2 -c 'write 0 1M' data.qcow2 >/dev/null

# opened ARGUMENT…: of the files that there are here, those that are opened, a line each. (A plan looks for logs in the
# folder.)
opened() {
  strace -f -e trace=open,openat,openat2,creat -o trace "$QCOW2_DUMP" "$@" >out 2>err </dev/null || true
  [[ -s out ]] || fail "no output: qcow2-dump $*"
  sed -nE 's/.*open[a-z0-9]*\(.*"([^"]*)".* = [0-9]+$/\1/p' trace | grep -vE '^(\.$|/(etc|lib|usr|proc|sys|dev)/)' | sort -u
}
modes=('' '-m check' '-m info' '-m error' '-m dump' '-m dump -f' '--json' '--json -m info' '--json -m error'
  '-H' '-H --json' '-c' '-l' '-N' '-R off' '-R check' '--stats' '--dry-run -R all' '--dry-run -R leak --json' '-s active')
for image in vm data; do
  for mode in "${modes[@]}"; do
    # shellcheck disable=SC2086
    [[ $(opened -b $mode $image.qcow2) == $image.qcow2 ]] || fail "-b $mode: $(opened -b $mode $image.qcow2)"
  done
done
[[ $(opened vm.qcow2) == *base.qcow2* && $(opened data.qcow2) == *vm.data* ]] || fail "without -b they are looked at"
[[ $(opened --dry-run -b -m rebase -F other.qcow2 vm.qcow2) == vm.qcow2 ]] || fail "rebase: $(cat trace)"
code 0 -b -m info vm.qcow2
says out '^  base\.qcow2$'
says out 'not opened \(-b\)'
code 0 --json -b -m info vm.qcow2
json '"backing-chain" not in d and d["header"]["backing-file"] == "base.qcow2"'

# ---- what can be any file

# names NAME KIND PATTERN [-b]: an image with such a backing file, or data file, isn't just good.
names() {
  if [[ $2 == backing ]]; then
    qemu-img create -q -u -f qcow2 -b "$1" -F raw named.qcow2 64M
  else
    cp data.qcow2 named.qcow2
    edit named.qcow2 "
name = sys.argv[3].encode()
place = image.read(0, 4096).index(b'vm.data')
image.write(place - 4, len(name).to_bytes(4, 'big') + name + bytes(64))" "$1"
  fi
  "$QCOW2_DUMP" -m error ${4-} named.qcow2 >out 2>err </dev/null || true
  tr -s '\n ' ' ' <out >line
  says line "\\[$2(-file)?\\.elsewhere\\] [^[]*: $3( |$)"
}
mkdir folder
cp base.qcow2 folder/
ln -s /etc/hostname linked
for kind in backing data; do
  for base in '' -b; do
    names /etc/hostname $kind 'an absolute name' $base
    names folder/../../base $kind "outside the image's folder" $base
    names nbd://localhost/base $kind 'a name with a protocol, which is not followed' $base
    names 'json:{"driver":"file","filename":"/etc/shadow"}' $kind 'a name with a protocol, which is not followed' $base
  done
  names linked $kind "outside the image's folder"
done
code 0 vm.qcow2
says_not out elsewhere
ln -s folder/vm.qcow2 there.qcow2  # names are relative to where the image is looked for
cp vm.qcow2 folder/vm.qcow2
code 0 there.qcow2
says_not out elsewhere
cd folder
code 0 ../vm.qcow2
says_not out elsewhere
code 0 "$PWD/vm.qcow2"
says_not out elsewhere
cd ..

# ---- what is no file is not opened: nobody writes to the pipe, and it isn't waited for

mkfifo pipe
names pipe backing 'not a regular file'
names pipe data 'not a regular file'
! grep -q '"[^"]*pipe"' <(opened named.qcow2; cat trace) || fail "a pipe was opened"
