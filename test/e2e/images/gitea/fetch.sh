#!/bin/sh
# Run in a builder container: /src is this directory, /out goes into the image as fetched/.
set -eu
mkdir -p /out/assets
cd /src
CGO_ENABLED=1 go build -trimpath -tags 'sqlite sqlite_unlock_notify' -ldflags '-s -w' \
  -o /out/gitea .
# Read from the module's own directory: embedding them needs Gitea's JavaScript build.
module=$(go list -m -f '{{.Dir}}' code.gitea.io/gitea)
cp -r "$module/templates" "$module/options" "$module/public" /out/assets/
chmod -R u+w,a+rX /out/assets
