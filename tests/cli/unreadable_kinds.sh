#!/usr/bin/env bash
# What can't be an image is refused and never waited for: a folder, a pipe, a device.
source "$(dirname "$0")/lib.bash"

code 235 .  # EISDIR
says err 'folder'
mkfifo pipe
code 234 pipe
says err 'pipe'
code 234 /dev/null
code 254 ""
code 234 -
says err 'standard input.*file or a block device'
qemu-img create -q -f qcow2 ./- 1M
code 0 ./-
