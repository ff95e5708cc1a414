"""Where the files of a container are that systemd-nspawn boots, and the port to them while it is stopped."""

import posixpath
from collections.abc import Sequence
from typing import Protocol

_DIRECTORY = ("-D", "--directory")
_BOOT = frozenset({"-b", "--boot"})


class StartGuard(Protocol):
    """A stopped container's own files."""

    async def check(self, machine: str, container: str) -> None:
        """Return if it may be started; raises UnsafePath."""

    async def lack(self, root: str, container: str) -> str:
        """Say what keeps systemd-nspawn from booting a directory, as far as its files tell; "" for nothing."""


def root_directory(command: Sequence[str], machine: str) -> str:
    """Give where its files are on the host, as its nspawn was told, or as systemd-nspawn(1) finds them."""
    return named_directory(command) or f"/var/lib/machines/{machine}"


def named_directory(command: Sequence[str]) -> str:
    """Give the directory that a command of nspawn names; "" if it names none."""
    for word, following in zip(command, (*command[1:], ""), strict=False):
        if word in _DIRECTORY:
            return following
        if word.startswith("--directory="):
            return word.removeprefix("--directory=")
    return ""


def booted_directory(command: Sequence[str]) -> str:
    """Give the directory whose own init a unit's command boots; "" if it boots none that it names.

    A script, as NixOS has it, may make files before it boots, and an image has its own.
    """
    is_nspawn = bool(command) and posixpath.basename(command[0]) == "systemd-nspawn"
    return named_directory(command) if is_nspawn and _BOOT & {*command} else ""
