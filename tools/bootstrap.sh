#!/bin/bash
# Install what the tests and the demonstration need, on Debian or Ubuntu, as root; does nothing where all is there.
set -euo pipefail

packages=(
    python3-venv libsystemd-dev pkg-config gcc python3-dev make git   # the tests' own Python packages
    dbus dbus-broker xz-utils                                         # private buses
    groff-base                                                        # manual pages are rendered
    python3-gi                                                        # menus are compared with GLib's own reading
    nix-bin                                                           # evaluates the NixOS module; nothing is built
    mmdebstrap systemd-container util-linux mount                     # the lab
)

missing=()
for package in "${packages[@]}"; do
    if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
        missing+=("$package")
    fi
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "bootstrap: missing, install them as root: ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# A broken third-party source must not matter as long as the packages are found.
apt-get -qq update || echo "bootstrap: apt-get update had errors, going on" >&2
apt-get -qq install --no-install-recommends -y "${missing[@]}" >/dev/null
