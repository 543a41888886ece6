#!/usr/bin/env bash
# --cluster-size: what the user knows helps where the header lies.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
damage vm.qcow2 header-cluster-bits
code 6 -m dump vm.qcow2
says_not out '^l1 table'
code 6 -m dump --cluster-size 64K vm.qcow2
says out '^l1 table\[   0\], l2 offset: 0x40000'
says out 'header\.cluster-bits'
