#!/bin/bash
# Remove what `make install` with the same settings puts below $DESTDIR$PREFIX, called by `make uninstall`. Policy in
# /etc/isod stays. Containers and what runs in them go on.
set -euo pipefail
cd "$(dirname "$0")/.."

DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/usr/local}
UNITS=(isod.service isod-helper.socket isod-helper-{mount,terminal,node,devices}.socket)

# On a host that runs, what is removed below must not be running, nor wanted at the next boot.
live() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

# What would be installed now; drop-ins first, so that no container's unit names a program that has gone.
plan=$(mktemp -d)
trap 'rm -rf "$plan"' EXIT
DESTDIR=$plan PREFIX=$PREFIX tools/install.sh >/dev/null
mapfile -t drop_ins < <(cd "$plan" && find . -path '*.service.d/*' -type f)
mapfile -t files < <(cd "$plan" && find . -type f ! -path "./${PREFIX#/}/lib/isoctl/*")

if live; then systemctl disable --now "${UNITS[@]}" || true; fi
for file in "${drop_ins[@]}" "${files[@]}"; do rm -f "$DESTDIR/$file"; done
rm -rf "$DESTDIR$PREFIX/lib/isoctl"
# The directories that are ours, unless others have put something there.
for directory in lib/systemd/system/{container,systemd-nspawn}@.service.d share/doc/isoctl/examples share/doc/isoctl; do
    rmdir --ignore-fail-on-non-empty "$DESTDIR$PREFIX/$directory" 2>/dev/null || true
done
if live; then
    systemctl daemon-reload
    systemctl reload dbus.service || true
fi
