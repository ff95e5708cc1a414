"""The mounts that a process sees: proc_pid_mountinfo(5), written by whoever may mount where it is."""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

# Root in a container may have as many as fs.mount-max of the host allows, 100,000, and each with paths of 4 KiB.
_BYTES_MAX = 4 << 20
_MOUNTS_MAX = 10_000
_ESCAPE = re.compile(rb"\\([0-7]{3})")
# The kernel answers for these by itself; behind all others stands a program or another machine that may never answer,
# or may do so: root in a container may mount an overlay over a FUSE server of theirs.
_ANSWERING = frozenset(
    {
        "bcachefs",
        "btrfs",
        "erofs",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "ramfs",
        "squashfs",
        "tmpfs",
        "xfs",
        "zfs",
    }
)
# Directories that are always empty; what is mounted there hides nothing (fs/namespace.c, mnt_already_visible).
_EMPTY = frozenset({"/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd", "/proc/xen"})


class Mount(NamedTuple):
    """One line of the table."""

    number: int
    parent: int
    device: str  # MAJOR:MINOR of the file system
    root: str  # what of that file system is mounted
    place: str  # where, for the process
    kind: str


def read_mounts(pid: int) -> list[Mount]:
    """Read the table of a process. Raises OSError, also where it has more than 10,000 mounts or 4 MiB."""
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        text = file.read(_BYTES_MAX + 1)
    if len(text) > _BYTES_MAX or text.count(b"\n") > _MOUNTS_MAX:
        raise OSError(f"it has more than {_MOUNTS_MAX} mounts, or {_BYTES_MAX >> 20} MiB of them")
    return parse_mounts(text)


def parse_mounts(text: bytes) -> list[Mount]:
    """Give the mounts of a table, in its order; what is no line of one is left out."""
    mounts = []
    # The kernel writes a newline, a blank, a tab and a backslash in names as numbers, and nothing else.
    for line in text.split(b"\n"):
        head, separator, tail = line.partition(b" - ")
        fields = head.split(b" ")
        if separator and len(fields) >= 6 and fields[0].isdigit() and fields[1].isdigit():
            texts = map(_plain, (*fields[2:5], tail.split(b" ")[0]))
            mounts.append(Mount(int(fields[0]), int(fields[1]), *texts))
    return mounts


def _plain(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field))


def below(path: str, directory: str) -> str | None:
    """Give the rest of an absolute path below a directory, "" for that itself; None if it is elsewhere."""
    top = directory.rstrip("/")
    return path[len(top) :].strip("/") if path == top or path.startswith(top + "/") else None


def is_below(place: str, directory: str) -> bool:
    """Tell whether an absolute path is a directory or lies in it."""
    return below(place, directory) is not None


def answers(mount: Mount) -> bool:
    """Tell whether the kernel answers for a file system by itself."""
    return mount.kind in _ANSWERING


def at(mounts: Sequence[Mount], place: str) -> Mount | None:
    """Give the mount that is seen at a place."""
    return next((mount for mount in reversed(mounts) if mount.place == place), None)


def is_proc_masked(mounts: Sequence[Mount]) -> bool:
    """Tell whether each /proc has something mounted over a part of it, so that no new one may be mounted by users.

    That is what mount_too_revealing() of the kernel (fs/namespace.c) asks when a user namespace wants one.
    """
    whole = [mount for mount in mounts if mount.kind == "proc" and mount.root == "/"]
    covered = {mount.parent for mount in mounts if mount.place not in _EMPTY}
    return bool(whole) and all(mount.number in covered for mount in whole)
