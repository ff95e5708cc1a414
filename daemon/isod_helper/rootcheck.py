"""Prove that a stopped container's root holds no trap for a start script that works in it by path, as root of the host.

NixOS's script of declarative and imperative containers does (nixos/modules/virtualisation/nixos-containers.nix): with
`root -> /` in the tree, its `chmod 0700 $root/root` is one of the host's own root directory. isod lets ordinary users
start containers, so the tree's last owner must not choose when that happens to whom.
"""

import os
import stat
from collections.abc import Callable

ROOTS = ("var/lib/nixos-containers", "var/lib/containers")
# What the script makes, chmods or touches. It replaces etc/resolv.conf without following it, so that may be a link.
_DIRECTORIES = ("etc", "usr", "usr/bin", "var", "var/lib", "var/lib/private", "root")
_FILES = ("etc/machine-id",)
_OPEN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnsafeRoot(Exception):
    """Something in the root is neither absent nor what it must be; the text names it."""


def check_roots(machine: str, root: str = "/") -> None:
    """Check the root of a NixOS container, if there is one of that name; `root` is for tests.

    Raises UnsafeRoot, OSError.
    """
    for parent in ROOTS:
        try:
            fd = os.open(os.path.join(root, parent, machine), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            _check(fd)
        finally:
            os.close(fd)


def _check(root_fd: int) -> None:
    for path in _DIRECTORIES:
        _check_path(root_fd, path, stat.S_ISDIR)
    for path in _FILES:
        _check_path(root_fd, path, stat.S_ISREG)


def _check_path(root_fd: int, path: str, is_right: Callable[[int], bool]) -> None:
    """Look at the last component; those before it are real directories, since they were checked before."""
    parent, _, name = path.rpartition("/")
    fd = os.dup(root_fd)
    try:
        for component in filter(None, parent.split("/")):
            inner = os.open(component, _OPEN, dir_fd=fd)
            os.close(fd)
            fd = inner
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    finally:
        os.close(fd)
    if not is_right(status.st_mode):
        raise UnsafeRoot(f"/{path} is not what it must be (mode {status.st_mode:o})")
