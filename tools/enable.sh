#!/bin/bash
# Have this host run what `make install` put there, called by `make enable`. After an upgrade too: isod and the users'
# isod-session are started anew; containers, apps and their windows go on.
set -euo pipefail

SOCKETS=(isod-helper.socket isod-helper-{mount,terminal,node,devices}.socket)

if [ "$(id -u)" != 0 ]; then
    echo "make enable: must run as root" >&2
    exit 1
fi
if [ ! -d /run/systemd/system ]; then
    echo "make enable: systemd does not run this host; boot it, then try again" >&2
    exit 1
fi
systemd-sysusers isod.conf
systemd-tmpfiles --create isod.conf
systemctl daemon-reload
systemctl reload dbus.service
systemctl enable --quiet isod.service "${SOCKETS[@]}"
systemctl start "${SOCKETS[@]}"
systemctl restart isod.service
# What users' systemds have read of the old units, where users are logged in.
systemctl reload 'user@*.service'
for manager in $(systemctl list-units --plain --no-legend --state=active 'user@*.service' | cut -d ' ' -f 1); do
    uid=${manager#user@}
    systemctl --user --machine="${uid%.service}@.host" --quiet try-restart isod-session.service ||
        echo "make enable: the isod-session of uid ${uid%.service} could not be restarted; it is new after a login" >&2
done
