#!/bin/sh
# Starts Gitea in whichever image, as its user git. The settings are copied because Gitea writes
# the secrets it makes up into the file, which it must own for that.
set -eu
mkdir -p /tmp/gitea/home
export HOME=/tmp/gitea/home GITEA_WORK_DIR=/tmp/gitea GITEA_CUSTOM=/tmp/gitea/custom
test -f /tmp/gitea/app.ini || cat /etc/gitea/app.ini > /tmp/gitea/app.ini
exec gitea web --config /tmp/gitea/app.ini
