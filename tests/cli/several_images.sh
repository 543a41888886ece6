#!/usr/bin/env bash
# Several images in one call: each report under its name, and the highest of their codes.
source "$(dirname "$0")/lib.bash"

image good.qcow2
cp good.qcow2 leaky.qcow2
damage leaky.qcow2 refcount-leak
cp good.qcow2 broken.qcow2
damage broken.qcow2 l2-unaligned

code 0 good.qcow2 good.qcow2
code 1 good.qcow2 leaky.qcow2 good.qcow2
code 6 leaky.qcow2 broken.qcow2 good.qcow2
[[ $(grep -c '^==> .* <==$' out) == 3 ]] || fail "three reports are wanted"
[[ $(grep -n '^==> leaky' out | cut -d: -f1) -lt $(grep -n '^==> broken' out | cut -d: -f1) ]] || fail "wrong order"

code 254 missing.qcow2 broken.qcow2  # what isn't there keeps nobody waiting
says out '==> broken.qcow2 <=='
says out 'CORRUPT'
says err 'missing\.qcow2'
