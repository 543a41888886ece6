#!/usr/bin/env bash
# --cluster-size: what the user knows helps where the header lies, in whatever is done with the image. It isn't written:
# an edit of the header does that.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
cp vm.qcow2 sound.qcow2
damage vm.qcow2 header-cluster-bits
cp vm.qcow2 ruined.qcow2
code 6 -m dump vm.qcow2
says_not out '^l1 table'
code 6 -m dump --cluster-size 64K vm.qcow2
says out '^l1 table\[   0\], l2 offset: 0x40000'
says out 'header\.cluster-bits'

# Places are found by it. What is written is what was asked for.
code 234 -m edit -O 'l1[0]' -V 0x40000 vm.qcow2
says err 'cluster size is impossible \(--cluster-size gives another\); nothing was changed'
code 6 --cluster-size 64K -m edit -O 'l1[0]' -V 0x40000 vm.qcow2
says out 'l1\[0\]: L2 table at 0x40000, COPIED; becomes L2 table at 0x40000$'
cp sound.qcow2 wanted.qcow2
code 2 -m edit -O 'l1[0]' -V 0x40000 wanted.qcow2
cp wanted.qcow2 edited.qcow2
damage wanted.qcow2 header-cluster-bits
same vm.qcow2 wanted.qcow2
code 6 --cluster-size 64K -m copy -O 'l2[0,100]' -S 'l2[0,101]' -w 8 vm.qcow2  # the same zeros
same vm.qcow2 wanted.qcow2
code 2 --cluster-size 64K -m edit -O header.cluster_bits -V 16 vm.qcow2
same vm.qcow2 edited.qcow2

# What the advice tries goes before it.
code 6 --cluster-size 64K ruined.qcow2
says out 'qcow2-dump -m edit -O header\.cluster_bits -V 0x10 ruined\.qcow2'

# No table is changed against the header, which everybody else goes by; not even by force.
for force in '' --force; do
  cp ruined.qcow2 vm.qcow2
  # shellcheck disable=SC2086
  code 6 --cluster-size 64K -R all $force vm.qcow2
  says out "header\.cluster-bits: the header's cluster size is another one"
  says out 'header\.cluster_bits -V 16 first'
  # shellcheck disable=SC2086
  code 255 --cluster-size 64K -D all $force vm.qcow2
  says err "the header's cluster size is another one"
  same vm.qcow2 ruined.qcow2
done
# Nor where the header's size is possible.
poke vm.qcow2 20 00000010
damage vm.qcow2 refcount-zero=3
cp vm.qcow2 before.qcow2
code 6 --cluster-size 4K -R all --force vm.qcow2
says out 'header\.cluster_bits -V 12 first'
same vm.qcow2 before.qcow2
code 0 --cluster-size 64K -R all vm.qcow2

# The header's field is not to be told while more is damaged: an entry is, and its command knows the size.
poke vm.qcow2 0x30000 0000000000000000
damage vm.qcow2 header-cluster-bits
code 6 vm.qcow2
says_not out 'qcow2-dump -m edit'
code 6 --cluster-size 64K vm.qcow2
says out "qcow2-dump --cluster-size 65536 -m edit -O 'l1\[0\]' -V 0x8000000000040000 vm\.qcow2"

# A header that says something possible but wrong is wrong all the same: nobody else can open the image.
cp sound.qcow2 vm.qcow2
poke vm.qcow2 20 0000000d
cp vm.qcow2 before.qcow2
code 6 --cluster-size 64K vm.qcow2
says out 'and with --cluster-size it is 16 here$'
says out 'qcow2-dump -m edit -O header\.cluster_bits -V 0x10 vm\.qcow2'
code 6 --cluster-size 64K -R all vm.qcow2
says out 'header\.cluster_bits -V 16 first'
same vm.qcow2 before.qcow2
# What a hint stands for is no reason to write anything into the header.
code 255 --cluster-size 64K -m edit -O header.magic -V 0 vm.qcow2
says err 'the header would make no sense any more: .*QFI'
same vm.qcow2 before.qcow2
code 0 --cluster-size 64K -m edit -O header.cluster_bits -V 16 vm.qcow2
same vm.qcow2 sound.qcow2

# Where the header is right, the image is misread by another size: what an edit does to it would seem to harm nothing.
for what in '-m edit -O header.magic -V 0' '-m edit -O header.cluster_bits -V 13' '-m edit -O 8 -V 0' \
  '-m copy -O 0x40000 -S 0x50000 -w 512' '-m rebase -F base -b'; do
  # shellcheck disable=SC2086
  code 255 --cluster-size 4K $what vm.qcow2
  says err "less is wrong with the image by the header's cluster size, 65536 bytes, than by 4096|cluster size is another"
  same vm.qcow2 sound.qcow2
done
code 6 --cluster-size 4K -m edit -O header.magic -V 0 --force vm.qcow2
says out 'lossy'
