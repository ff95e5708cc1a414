"""Processes of containers as the host's kernel names them: proc(5)."""

import os
from collections.abc import Iterable

_COMMAND_BYTES_MAX = 256 * 1024


def fd_info(fd: int) -> dict[str, str]:
    """Give what the kernel tells of a descriptor of ours (proc(5), fdinfo). Raises OSError."""
    with open(f"/proc/self/fdinfo/{fd}") as lines:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def pid_of(pidfd: int) -> int:
    """Give the pid behind a pidfd, -1 once it has ended (pidfd_open(2), fdinfo)."""
    try:
        return int(fd_info(pidfd).get("Pid", "-1"))
    except OSError:
        return -1


def network_of(pid: int) -> tuple[int, int] | None:
    """Tell networks of processes apart: /proc/PID/ns takes ptrace rights, but each network has its own files."""
    try:
        status = os.stat(f"/proc/{pid}/net/dev")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def command_of(pid: int) -> tuple[str, ...]:
    """Give the argument vector of a process of the host, () if there is none."""
    if not pid:
        return ()
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            raw = file.read(_COMMAND_BYTES_MAX)
    except OSError:
        return ()
    return tuple(word.decode(errors="replace") for word in _words(raw))


def _words(raw: bytes) -> Iterable[bytes]:
    return raw.removesuffix(b"\0").split(b"\0") if raw else ()
