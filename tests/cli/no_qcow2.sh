#!/usr/bin/env bash
# Files that are no qcow2 image, or not one any more: code 6, a sentence about the header, little memory.
source "$(dirname "$0")/lib.bash"

: >empty
python3 -c 'import random; open("raw", "wb").write(random.Random(1).randbytes(100000))'
image vm.qcow2
head -c 100 vm.qcow2 >short
cp vm.qcow2 ones.qcow2
python3 -c 'open("ones.qcow2", "r+b").write(b"\xff" * 65536)'

modest 6 empty
says out 'header\.short|0 bytes'
modest 6 raw
says out 'no qcow2 image'
modest 6 -m error short
says out 'has 100 bytes'
modest 6 ones.qcow2
says out 'no qcow2 image'
for file in empty raw short ones.qcow2; do
  for mode in info error dump; do
    modest 6 -m $mode $file
    says out .
  done
  modest 0 -H $file
  modest 6 --json $file
  python3 -m json.tool out >/dev/null
  modest 6 --cluster-size 64K -m error $file
done
