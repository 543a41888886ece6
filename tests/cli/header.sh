#!/usr/bin/env bash
# -H: the layout without an image, the values with one, also where the header is ruined.
source "$(dirname "$0")/lib.bash"

code 0 -H
says out '^ +20 +4 +cluster_bits'
says out '^ +104 +1 +compression_type'
image vm.qcow2
code 0 -H vm.qcow2
says out '^ +20 +4 +cluster_bits +0x00000010 +16'
cp vm.qcow2 ruined.qcow2
damage ruined.qcow2 header-cluster-bits
code 0 -H ruined.qcow2 vm.qcow2
says out '^ +20 +4 +cluster_bits +0x00000008'
says out '^ +20 +4 +cluster_bits +0x00000010 +16'
