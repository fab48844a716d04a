#!/bin/sh
# uploadpack.packObjectsHook: one line for each pack that upstream makes, with the test that asked.
printf '%s\n' "$X_TEST" >> /w/log/packs.log
# Begins so many seconds later.
if [ -e late-pack ]; then sleep "$(cat late-pack)"; fi
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
# Ends one pack with another checksum.
if [ -e bad-pack ]; then
  rm bad-pack
  pack=$(mktemp)
  "$@" > "$pack"
  head -c -1 "$pack"
  tail -c 1 "$pack" | tr '\000-\377' '\001-\377\000'
  rm "$pack"
  exit
fi
exec "$@"
