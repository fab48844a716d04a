#!/bin/sh
# Run in a builder container: /src is this directory, /out goes into the image as fetched/.
set -eu
# Made at its final path, which a virtual environment has written into its scripts.
python3 -m venv /opt/py
/opt/py/bin/pip install --quiet --only-binary :all: --requirement /src/requirements.txt
mkdir -p /out && cp -a /opt/py /out/py
cd /src/go-git-client
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /out/go-git-client .
