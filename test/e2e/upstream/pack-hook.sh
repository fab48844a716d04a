#!/bin/sh
# uploadpack.packObjectsHook: one line for each pack that upstream makes, with the test that asked.
printf '%s\n' "$X_TEST" >> /w/log/packs.log
exec "$@"
