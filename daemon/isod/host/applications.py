"""Reading the desktop entries of a container, through its root descriptor; blocking, so called through the offload."""

import itertools
import os
import stat

from isod.desktop_entry import Application, parse
from isod.host import rootfs
from isod.ports import Account
from isod_contract import limits

# In the order of XDG_DATA_DIRS: what the user has hides what the system has (Base Directory Specification).
_DIRECTORIES = (
    "{home}/.local/share",
    "{home}/.local/state/nix/profile/share",
    "{home}/.nix-profile/share",
    "etc/profiles/per-user/{user}/share",
    "run/current-system/sw/share",
    "usr/local/share",
    "usr/share",
)
_ENTRIES_READ_MAX = 4096  # of one directory, and of all
_CHARS_MAX = 1024 * 1024  # of all that is told: a reply is bounded, and one that is larger is an error


def read_applications(root_fd: int, account: Account, languages: tuple[str, ...]) -> list[Application]:
    """Give what a menu shows, by name; what can't be read, or is more than a reply holds, is left out."""
    seen: set[str] = set()
    found: list[Application] = []
    chars_left = _CHARS_MAX
    for pattern in _DIRECTORIES:
        path = pattern.format(home=account.home.strip("/"), user=account.name) + "/applications"
        for name in _names(root_fd, path):
            if name in seen or len(seen) >= _ENTRIES_READ_MAX:
                continue
            seen.add(name)
            text = _read(root_fd, f"{path}/{name}")
            application = parse(name.removesuffix(".desktop"), text, languages) if text else None
            if application is None:
                continue
            chars_left -= sum(map(len, (application.name, application.comment, *application.command)))
            if chars_left < 0 or len(found) >= limits.APPLICATIONS_MAX:
                return _sorted(found)
            found.append(application)
    return _sorted(found)


def _sorted(applications: list[Application]) -> list[Application]:
    return sorted(applications, key=lambda item: item.name.casefold())


def _names(root_fd: int, path: str) -> list[str]:
    """List a directory's entries, the first of them if there are too many."""
    try:
        # A symlink is resolved inside the container's root: in NixOS every one of these is one.
        directory_fd = rootfs.open_in_root(root_fd, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        with os.scandir(directory_fd) as entries:
            names = [entry.name for entry in itertools.islice(entries, _ENTRIES_READ_MAX)]
    except OSError:
        return []
    finally:
        os.close(directory_fd)
    return sorted(name for name in names if name.endswith(".desktop"))


def _read(root_fd: int, path: str) -> str:
    """Read a small regular file as text; "" for anything else."""
    try:
        fd = rootfs.open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return ""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limits.DESKTOP_ENTRY_BYTES_MAX:
            return ""
        return os.read(fd, limits.DESKTOP_ENTRY_BYTES_MAX).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
