#!/bin/bash
# Remove what `make install` with the same settings puts below $DESTDIR$PREFIX, called by `make uninstall`, and what isod
# holds while it runs. Policy in /etc/isod stays, and so does the journal. Containers and what runs in them go on.
set -euo pipefail
cd "$(dirname "$0")/.."

DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/usr/local}
UNITS=(isod.service isod-helper.socket isod-helper-{mount,terminal,node,devices}.socket)
# Also of an installation in a place that `make install` would refuse now.
case $PREFIX in
/usr | /usr/local) ;;
*) DBUSDIR=${DBUSDIR:-/etc/dbus-1/system.d} POLKITDIR=${POLKITDIR:-/usr/share/polkit-1/actions} ;;
esac
export DBUSDIR=${DBUSDIR:-} POLKITDIR=${POLKITDIR:-}

if [ -z "$DESTDIR" ] && [ "$(id -u)" != 0 ]; then
    echo "make uninstall: must run as root" >&2
    exit 1
fi

# On a host that runs, what is removed below must not be running, nor wanted at the next boot.
live() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

# What runs by our programs: isod and its helpers, then each user's isod-session and X servers.
stop_all() {
    systemctl disable --quiet --now "${UNITS[@]}" || true
    systemctl stop 'isod-helper@*.service' 'isod-helper-*@*.service' 'isoctl-x11-*.service' || true
    # What it had left with systemd, for an isod that will not come.
    systemctl clean --what=fdstore isod.service 2>/dev/null || true
    local manager uid
    for manager in $(systemctl list-units --plain --no-legend --state=active 'user@*.service' | cut -d ' ' -f 1); do
        uid=${manager#user@}
        systemctl --user --machine="${uid%.service}@.host" --quiet stop isod-session.service 'isoctl-x11-*.service' ||
            true
    done
}

# Containers that run keep their own view of what was mounted for them, until they stop.
remove_state() {
    local mounted
    while read -r mounted; do umount --lazy "$mounted"; done < <(findmnt --raw --noheadings --output TARGET |
        grep '^/run/isod/' | sort --reverse)
    rm -rf --one-file-system /run/isod
    # Its members are the administrator's word, as policy is.
    local members
    members=$(getent group isoctl | cut -d : -f 4) && [ -n "$members" ] || groupdel isoctl 2>/dev/null || true
}

# What would be installed now; drop-ins first, so that no container's unit names a program that has gone.
plan=$(mktemp -d)
trap 'rm -rf "$plan"' EXIT
# By whatever Python is there: what it compiles is not looked at.
DESTDIR=$plan PREFIX=$PREFIX PYTHON=/usr/bin/python3 tools/install.sh >/dev/null
mapfile -t drop_ins < <(cd "$plan" && find . -path '*.service.d/*' -type f)
mapfile -t files < <(cd "$plan" && find . -type f ! -path "./${PREFIX#/}/lib/isoctl/*")

if live; then stop_all; fi
for file in "${drop_ins[@]}" "${files[@]}"; do rm -f "$DESTDIR/$file"; done
rm -rf "$DESTDIR$PREFIX/lib/isoctl"
# The directories that are ours, unless others have put something there.
for directory in lib/systemd/system/{container,systemd-nspawn}@.service.d \
    share/doc/isoctl/{docs/adr,docs,examples} share/doc/isoctl; do
    rmdir --ignore-fail-on-non-empty "$DESTDIR$PREFIX/$directory" 2>/dev/null || true
done
if live; then
    systemctl daemon-reload
    systemctl reload 'user@*.service' || true
    systemctl reload dbus.service || true
    remove_state
    echo "isoctl is removed. Left: policy in /etc/isod, the records in the journal, and the containers."
fi
