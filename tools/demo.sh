#!/bin/bash
# `make demo`: boots a host with containers and uses isoctl there as the ordinary user alice. Root, Debian or Ubuntu.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=tests/lab
python3 -m lab prepare --tree demo
exec python3 tools/demo.py
