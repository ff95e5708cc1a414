"""Which terminals a container knows, read through its root descriptor; blocking, so called through the offload.

Source: ncurses(3), "FILES" and TERMINFO_DIRS; terminfo(5) for both layouts of its directories.
"""

import os
import stat
from collections.abc import Iterable

from isod.host import rootfs
from isod.ports import Account

# Where the distributions' ncurses looks, NixOS's too: of files that root inside alone can make.
_DIRECTORIES = (
    "etc/terminfo",
    "lib/terminfo",
    "usr/share/terminfo",
    "usr/lib/terminfo",
    "run/current-system/sw/share/terminfo",
    "etc/profiles/per-user/{user}/share/terminfo",
)
_HOME = ".terminfo"


def first_known(root_fd: int, account: Account, names: Iterable[str]) -> str:
    """Give the first of these terminals that has an entry for the account; "" where none has. Names hold no slash."""
    return next((name for name in names if _is_known(root_fd, account, name)), "")


def _is_known(root_fd: int, account: Account, name: str) -> bool:
    # The second is the layout for file systems that take a for A.
    places = (f"{name[0]}/{name}", f"{ord(name[0]):x}/{name}")
    for directory in _DIRECTORIES:
        if any(_is_file(root_fd, f"{directory.format(user=account.name)}/{place}") for place in places):
            return True
    # A user can mount a file system of their own in their home, which may never answer.
    home = account.home.strip("/")
    return any(_is_file(root_fd, f"{home}/{_HOME}/{place}", same_file_system=True) for place in places)


def _is_file(root_fd: int, path: str, *, same_file_system: bool = False) -> bool:
    try:
        fd = rootfs.open_in_root(root_fd, path, os.O_PATH, same_file_system=same_file_system)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    finally:
        os.close(fd)
