"""Build the lab host's root tree once, and keep it in a cache keyed by its recipe."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab import readme

SUITE = "trixie"

SYSTEM = (
    "systemd systemd-sysv dbus dbus-user-session dbus-broker systemd-container polkitd "
    "libpam-systemd libnss-systemd udev procps iproute2 util-linux coreutils"
).split()
PRODUCT = (
    "python3 python3-dbus-next python3-pydantic python3-systemd python3-pyudev python3-structlog python3-jeepney"
).split()
TOOLS = "bash dash zsh fish ksh hyperfine strace less file make libglib2.0-bin psmisc".split()
PACKAGES = (*SYSTEM, *PRODUCT, *TOOLS)

COMPOSITORS = "sway swaybg labwc weston mutter xwayland openbox".split()
SCREEN = (
    "foot xterm fuzzel grim wtype wayland-utils wl-clipboard wlrctl xauth xclip xdotool x11-utils x11-xserver-utils "
    "fonts-dejavu-core libnotify-bin "
    # mutter and weston show their screens by these
    "pipewire wireplumber gstreamer1.0-pipewire gstreamer1.0-tools gstreamer1.0-plugins-base python3-pil"
).split()
TOOLKITS = "zenity gtk-4-examples python3-pyqt6 qt6-wayland default-jre xdg-desktop-portal-gtk".split()
DESKTOP = (*COMPOSITORS, *SCREEN, *TOOLKITS)
BIG = "firefox-esr chromium kwin-wayland python3-pygame gnome-terminal".split()

# What Debian's installer leaves on a host, as far as it matters here; all else is what the README has one install.
FRESH = "systemd systemd-sysv dbus libpam-systemd libnss-systemd udev procps iproute2 util-linux coreutils less".split()

USERS = {"alice": 1000, "bob": 1001, "mallory": 1002, "carol": 1003}

HOOKS = (
    *(f'chroot "$1" useradd -m -u {uid} -s /bin/bash {user}' for user, uid in USERS.items()),
    'chroot "$1" passwd -d root',
    'mkdir -p "$1/var/lib/systemd/linger"',
    *(f'touch "$1/var/lib/systemd/linger/{user}"' for user in USERS),
)


# enabled by Debian; a test says itself what runs in a user's session
DESKTOP_HOOKS = ('rm -rf "$1"/etc/systemd/user/default.target.wants "$1"/etc/systemd/user/graphical-session*.wants',)

# as little as shows a window, since a newcomer waits for it
PICTURE = "sway foot grim wtype fonts-dejavu-core".split()

# a machine of its own, with a kernel that has real graphics devices (tests/vm)
KERNEL = "linux-image-amd64 initramfs-tools kmod openssh-server".split()
# and what X servers of containers show windows with
VM_SCREEN = "sway xwayland xterm x11-utils fonts-dejavu-core".split()
# no more modules than find the disk: an emulated processor takes long to unpack the others
KERNEL_HOOKS = (
    'echo MODULES=list > "$1/etc/initramfs-tools/conf.d/lab"',
    'printf "%s\\n" virtio_pci virtio_blk ext4 >> "$1/etc/initramfs-tools/modules"',
    'chroot "$1" update-initramfs -u',
)

# what a lab is booted from, packages and hooks
TREES = {
    "fresh": ((*FRESH, *readme.packages(readme.text())), HOOKS),
    "plain": (PACKAGES, HOOKS),
    "demo": ((*PACKAGES, *PICTURE), (*HOOKS, *DESKTOP_HOOKS)),
    "desktop": ((*PACKAGES, *DESKTOP), (*HOOKS, *DESKTOP_HOOKS)),
    "desktop-full": ((*PACKAGES, *DESKTOP, *BIG), (*HOOKS, *DESKTOP_HOOKS)),
    "vm": ((*PACKAGES, *KERNEL, *VM_SCREEN), (*HOOKS, *DESKTOP_HOOKS, *KERNEL_HOOKS)),
}


def cache_dir() -> Path:
    """Where trees and run directories live; outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "isoctl-lab"


def recipe_key(tree: str) -> str:
    """A short name for exactly this recipe."""
    recipe = json.dumps([SUITE, *TREES[tree]])
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock that vanishes with this process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def debian_mirror() -> str | None:
    """The Debian mirror of this machine's own apt sources; None means mmdebstrap's default."""
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in listing.stdout.splitlines():
        origin, component, uri = ([*line.split(maxsplit=2), "", "", ""])[:3]
        # the security archive has no whole suite to bootstrap from
        if origin == "Debian" and component == "main" and "security" not in uri:
            return uri
    return None


def host_tree(tree: str = "plain") -> Path:
    """The finished tree of this kind; builds it first where needed."""
    done = cache_dir() / f"host-{recipe_key(tree)}"
    if done.is_dir():
        return done
    packages, hooks = TREES[tree]
    argv = ["--variant=minbase", f"--include={','.join(packages)}"]
    return _built(done, [*argv, *(f"--customize-hook={hook}" for hook in hooks), SUITE])


def guest_tree(options: Sequence[str]) -> Path:
    """What mmdebstrap makes with these options, the last of them the suite."""
    key = hashlib.sha256(json.dumps(list(options)).encode()).hexdigest()[:16]
    return _built(cache_dir() / f"guest-{key}", options)


def _built(done: Path, options: Sequence[str]) -> Path:
    with exclusive(done.parent / "build.lock"):
        if not done.is_dir():
            _build(done.parent, done, options)
    return done


def _build(cache: Path, done: Path, options: Sequence[str]) -> None:
    for stale in cache.glob("building-*"):
        # we hold the lock: whoever made this is dead
        shutil.rmtree(stale, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
    root = work / "root"
    # In a mount namespace of its own: what it mounts there is gone with it, also if it is killed, and not in the way of
    # the rmtree above.
    argv = ["unshare", "--mount", "mmdebstrap", *options, str(root)]
    mirror = debian_mirror()
    if mirror:
        argv.append(mirror)
    subprocess.run(argv, stdin=subprocess.DEVNULL, check=True)
    root.rename(done)
    work.rmdir()
