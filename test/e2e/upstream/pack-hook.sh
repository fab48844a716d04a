#!/bin/sh
# uploadpack.packObjectsHook: one line for each pack that upstream makes, with the test that asked.
printf '%s\n' "$X_TEST" >> /w/log/packs.log
if [ -e slow-pack ]; then
  "$@" | { head -c 100000; sleep 3; cat; }
  exit
fi
exec "$@"
