#!/bin/sh
# uploadpack.packObjectsHook: one line for each pack that upstream makes, with the test that asked.
printf '%s\n' "$X_TEST" >> /w/log/packs.log
# Says nothing for so many seconds, 3 where the file is empty, in the middle of each pack.
if [ -e slow-pack ]; then
  seconds=$(cat slow-pack)
  "$@" | { head -c 100000; sleep "${seconds:-3}"; cat; }
  exit
fi
# Breaks off in the middle of one pack.
if [ -e cut-pack ]; then
  rm cut-pack
  "$@" | { head -c 100000; sleep 3; }
  exit 1
fi
exec "$@"
