#!/usr/bin/env bash
# The examples of the help do what they say, each on an image that it fits.
source "$(dirname "$0")/lib.bash"

image healthy.qcow2
snapshot healthy.qcow2 first
snapshot healthy.qcow2 second
qemu-io -f qcow2 -c 'write -P 1 0 512k' healthy.qcow2 >qemu-io.log
cp healthy.qcow2 donor.qcow2
qemu-img create -q -f qcow2 base.qcow2 64M

code 0 -h
sed -n '/^EXAMPLES/,/^exit code/p' out | grep -E '^  qcow2-dump ' | sed -E 's/^  //; s/ {2,}.*//' >examples
(($(wc -l <examples) >= 16)) || fail "$(cat examples)"

# prepared EXAMPLE: vm.qcow2 is such that there is something to do; the expected exit code.
prepared() {
  rm -f vm.qcow2*
  cp healthy.qcow2 vm.qcow2
  case $1 in
    *'-m undo'*)
      damage vm.qcow2 refcount-leak=3
      cp vm.qcow2 leaky
      code 0 -R all vm.qcow2
      ;;
    *'-R all --dry-run'*) damage vm.qcow2 refcount-zero=3 && echo 4 >expected && return ;;
    *'-R all'*) damage vm.qcow2 refcount-zero=3 ;;
    *'-C corrupt'*) damage vm.qcow2 corrupt-bit ;;
    *'-m copy'*) damage vm.qcow2 header-magic ;;
    *'-m edit'*)
      # The first cluster that is written lies where the example says.
      qemu-img create -q -f qcow2 vm.qcow2 64M
      qemu-io -f qcow2 -c 'write 192k 64k' vm.qcow2 >qemu-io.log
      cp vm.qcow2 before
      edit vm.qcow2 'image.put(image.l2_at(image.l2_tables()[0][1], 3), 0)'
      ;;
  esac
  echo 0 >expected
}

while read -r example; do
  prepared "$example"
  got=0
  PATH=$folder:$PATH bash -c "${example/qcow2-dump/\"\$QCOW2_DUMP\"}" >out 2>err </dev/null || got=$?
  [[ $got == "$(<expected)" ]] || fail "exit code $got: $example"
  [[ -s out && ! -s err ]] || fail "$example"
  case $example in
    *'-m undo'*) same vm.qcow2 leaky ;;
    *'--keep-as broken'*) qemu-img snapshot -l vm.qcow2 | grep -qw broken || fail "$example" ;;
    *'-D 2'*) [[ $(qemu-img snapshot -l vm.qcow2 | awk 'NR > 2 {print $2}') == first ]] || fail "$example" ;;
    *'-E first'*) [[ $(qemu-img snapshot -l vm.qcow2 | awk 'NR > 2 {print $2}') == first ]] || fail "$example" ;;
    *'-C corrupt'*) qemu-img info vm.qcow2 | grep -q 'corrupt: false' || fail "$example" ;;
    *'-M dirty'*) says out '^incompatible_features: 0x1' ;;
    *'-m copy'*) same vm.qcow2 healthy.qcow2 ;;
    *'-m rebase'*) qemu-img info vm.qcow2 | grep -q 'backing file: base.qcow2' || fail "$example" ;;
    *'-m edit'*) same vm.qcow2 before ;;
  esac
done <examples
for option in -A -D -E -M -C '-m edit' '-m copy' '-m rebase' '-m undo' '-R all'; do
  grep -qe "$option" examples || fail "the help has no example of $option"
done
