"""Which locales a container has, read through its root descriptor; blocking, so called through the offload.

Sources: locale(5) for the directories; locarchive.h of the GNU C library for the layout of `locale-archive`.
"""

import os
import stat
import struct

from isod.host import rootfs

_DIRECTORY = "usr/lib/locale"
_ARCHIVES = ("run/current-system/sw/lib/locale/locale-archive", "usr/lib/locale/locale-archive")
_MAGIC = 0xDE020109
# magic, serial; then offset, used, size of the hash table of names; all unsigned 32-bit
_HEAD = struct.Struct("=IIIII")
_ENTRY = struct.Struct("=III")  # hash, offset of the name, offset of its record; a free slot has no record
_ENTRIES_MAX = 16 * 1024
_NAME_BYTES_MAX = 128
_NAMES_MAX = 4096


def locale_names(root_fd: int) -> frozenset[str]:
    """Give the names of all locales as `locale -a` writes them; what can't be read has none."""
    names: set[str] = set()
    try:
        fd = rootfs.open_in_root(root_fd, _DIRECTORY, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        pass
    else:
        try:
            with os.scandir(fd) as entries:
                names.update(entry.name for entry, _ in zip(entries, range(_NAMES_MAX), strict=False))
        finally:
            os.close(fd)
    for path in _ARCHIVES:
        names |= _archive_names(root_fd, path)
    return frozenset(names - {"locale-archive"})


def _archive_names(root_fd: int, path: str) -> set[str]:
    try:
        fd = rootfs.open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return set()
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return set()
        magic, _, offset, _, size = _HEAD.unpack(os.pread(fd, _HEAD.size, 0))
        if magic != _MAGIC or size > _ENTRIES_MAX:
            return set()
        table = os.pread(fd, size * _ENTRY.size, offset)
        found = set()
        for _, name_offset, record in _ENTRY.iter_unpack(table[: len(table) // _ENTRY.size * _ENTRY.size]):
            if record:
                found.add(os.pread(fd, _NAME_BYTES_MAX, name_offset).partition(b"\0")[0].decode(errors="replace"))
    except (OSError, struct.error):
        return set()
    finally:
        os.close(fd)
    return found
