#!/bin/bash
# Install the product below $DESTDIR$PREFIX: no pip, no network. Called by `make install`.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."

DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/usr/local}
PYTHON=${PYTHON:-/usr/bin/python3}   # what the installed programs run on

bindir=$PREFIX/bin
libdir=$PREFIX/lib/isoctl
libexecdir=$PREFIX/libexec
datadir=$PREFIX/share
unitdir=$PREFIX/lib/systemd/system
userunitdir=$PREFIX/lib/systemd/user

# Systemd, D-Bus, polkit and man look below these two and nowhere else. Elsewhere what was installed would be found by
# nobody; a distribution that has other places names them all.
case $PREFIX in
/usr | /usr/local)
    if [ -z "$DESTDIR" ]; then
        if [ "$(id -u)" != 0 ]; then
            echo "make install: must run as root, or with DESTDIR=" >&2
            exit 1
        fi
        if ! command -v "$PYTHON" >/dev/null; then
            echo "make install: there is no $PYTHON; PYTHON= names what the programs run on. Nothing was installed." >&2
            exit 1
        fi
        "$PYTHON" -IB tools/check_host.py
    fi
    ;;
*)
    if [ -z "${DBUSDIR:-}" ] || [ -z "${POLKITDIR:-}" ]; then
        echo "make install: PREFIX=$PREFIX is not where systemd and D-Bus look; take /usr/local or /usr. Nothing was" \
            "installed." >&2
        exit 1
    fi
    ;;
esac

# dbus-daemon and older polkits look nowhere below /usr/local for these two. A distribution may say otherwise (nix/).
if [ "$PREFIX" = /usr ]; then
    dbusdir=${DBUSDIR:-$datadir/dbus-1/system.d}
else
    dbusdir=${DBUSDIR:-/etc/dbus-1/system.d}
fi
polkitdir=${POLKITDIR:-/usr/share/polkit-1/actions}
packages=(daemon/isod_contract daemon/isod_kernel daemon/isod_wire daemon/isod daemon/isod_session daemon/isod_helper client/isoctl)

# put MODE FILE DIRECTORY: install one file with the paths filled in.
put() {
    install -d "$DESTDIR$3"
    local target="$DESTDIR$3/${2##*/}"
    sed -e "s|@libexecdir@|$libexecdir|g" -e "s|@bindir@|$bindir|g" "$2" > "$target.new"
    chmod "$1" "$target.new"
    mv "$target.new" "$target"
}

# put_all MODE DIRECTORY FILES...: those that are there; a pattern that matches none is no error.
put_all() {
    local mode=$1 directory=$2 file
    shift 2
    for file; do
        if [ -f "$file" ]; then put "$mode" "$file" "$directory"; fi
    done
}

# launcher PATH FLAGS FUNCTION-MODULE [ARGUMENTS]: a program that sees our own packages before all others.
launcher() {
    install -d "$DESTDIR${1%/*}"
    cat > "$DESTDIR$1.new" <<PROGRAM
#!$PYTHON $2
import sys
sys.path.insert(0, "$libdir")
from $3 import main
sys.exit(main($4))
PROGRAM
    chmod 0755 "$DESTDIR$1.new"
    mv "$DESTDIR$1.new" "$DESTDIR$1"
}

# front PATH PROGRAM: what users call. Python ends with a fatal error of its own, before any code of ours, if a standard
# stream is a directory.
front() {
    install -d "$DESTDIR${1%/*}"
    cat > "$DESTDIR$1.new" <<PROGRAM
#!/bin/sh
if [ -d /proc/self/fd/0 ] || [ -d /proc/self/fd/1 ] || [ -d /proc/self/fd/2 ]; then
    echo "${1##*/}: stdin, stdout or stderr is a directory; a directory never enters a container" >&2
    exit 125
fi
exec $2 "\$@"
PROGRAM
    chmod 0755 "$DESTDIR$1.new"
    mv "$DESTDIR$1.new" "$DESTDIR$1"
}

install_packages() {
    rm -rf "$DESTDIR$libdir"
    install -d "$DESTDIR$libdir"
    local package
    for package in "${packages[@]}"; do
        if [ -d "$package" ]; then
            (cd "${package%/*}" && find "${package##*/}" -name '*.py' -print0 | tar --null -T - -cf - ) |
                tar -C "$DESTDIR$libdir" --no-same-owner --no-same-permissions -xf -
        fi
    done
    find "$DESTDIR$libdir" -type d -exec chmod 0755 {} +
    find "$DESTDIR$libdir" -type f -exec chmod 0644 {} +
    # By the Python that will run it, where that is in the tree; else by ours. Users can't write it later on.
    if [ -n "$DESTDIR" ] && [ "$(id -u)" = 0 ] && chroot "$DESTDIR" "$PYTHON" -c '' 2>/dev/null; then
        chroot "$DESTDIR" "$PYTHON" -m compileall -q "$libdir"
    elif [ -n "$DESTDIR" ]; then
        "$PYTHON" -m compileall -q -s "$DESTDIR" -p / "$DESTDIR$libdir"
    else
        "$PYTHON" -m compileall -q "$libdir"
    fi
}

install_programs() {
    # -I: no directory and no variable of the caller's decides what is imported; -S: isoctl needs nothing but us and
    # the standard library, and the search for more costs a third of its start.
    launcher "$libexecdir/isoctl" -IS isoctl.__main__ ""
    front "$bindir/isoctl" "$libexecdir/isoctl"
    launcher "$libexecdir/isod" -I isod.__main__ ""
    launcher "$libexecdir/isod-session" -I isod_session.__main__ ""
    launcher "$libexecdir/isod-xserver" -IS isod_session.xserver ""
    launcher "$libexecdir/isod-helper" -IS isod_helper.__main__ ""
    launcher "$libexecdir/isod-prepare" -IS isod_helper.prepare "sys.argv[1:]"
}

install_systemd() {
    local from=systemd-units
    put_all 0644 "$unitdir" $from/isod.service $from/isod-helper.socket $from/isod-helper@.service \
        $from/isod-helper-mount.socket $from/isod-helper-mount@.service \
        $from/isod-helper-terminal.socket $from/isod-helper-terminal@.service \
        $from/isod-helper-node.socket $from/isod-helper-node@.service \
        $from/isod-helper-devices.socket $from/isod-helper-devices@.service \
        $from/isod-prepare@.service $from/container@.service
    put_all 0644 "$unitdir/container@.service.d" $from/container@.service.d/50-isod.conf
    put_all 0644 "$unitdir/systemd-nspawn@.service.d" $from/systemd-nspawn@.service.d/50-isod.conf
    put_all 0644 "$userunitdir" $from/isod-session.service
    put_all 0644 "$PREFIX/lib/sysusers.d" $from/sysusers.d/*.conf
    put_all 0644 "$PREFIX/lib/tmpfiles.d" $from/tmpfiles.d/*.conf
    put_all 0644 "$PREFIX/lib/systemd/catalog" $from/*.catalog $from/catalog/*.catalog
}

install_dbus() {
    local from=dbus-policy
    put_all 0644 "$dbusdir" $from/org.isoctl1.conf
    put_all 0644 "$datadir/dbus-1/system-services" $from/system-services/*.service
    put_all 0644 "$datadir/dbus-1/services" $from/services/*.service
    put_all 0644 "$datadir/dbus-1/interfaces" $from/*.xml $from/interfaces/*.xml
    put_all 0644 "$polkitdir" $from/*.policy
}

install_documents() {
    put_all 0644 "$datadir/bash-completion/completions" client/completion/isoctl.bash
    local bash_completion=$DESTDIR$datadir/bash-completion/completions
    if [ -f "$bash_completion/isoctl.bash" ]; then mv "$bash_completion/isoctl.bash" "$bash_completion/isoctl"; fi
    put_all 0644 "$datadir/zsh/site-functions" client/completion/_isoctl
    # Debian's zsh looks in site-functions only below /usr/local.
    if [ "$PREFIX" = /usr ]; then put_all 0644 "$datadir/zsh/vendor-completions" client/completion/_isoctl; fi
    put_all 0644 "$datadir/fish/vendor_completions.d" client/completion/isoctl.fish
    local section
    for section in 1 5 8; do
        put_all 0644 "$datadir/man/man$section" docs/man/*."$section"
    done
    # What README and SECURITY link to stands beside them, by the same names.
    local documents=$datadir/doc/isoctl
    put_all 0644 "$documents" README.md SECURITY.md CHANGELOG.md
    put_all 0644 "$documents/docs" docs/*.md
    put_all 0644 "$documents/docs/adr" docs/adr/*.md
    install -D -m 0644 docs/demo.png "$DESTDIR$documents/docs/demo.png"
    put_all 0644 "$documents/examples" docs/examples/*.toml docs/examples/*.conf
}

install_packages
install_programs
install_systemd
install_dbus
install_documents
