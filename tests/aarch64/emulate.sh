#!/bin/sh
# Runs a program for aarch64 Linux here: emulate.sh PROGRAM [ARGUMENT...]
#
# The emulator keeps a record of every page that a program reserves, so what no machine has (over 4 TiB) must be refused.
ulimit -v 4294967296
exec qemu-aarch64-static -cpu max -L /usr/aarch64-linux-gnu "$@"
