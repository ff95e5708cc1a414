"""The user's own X server: its socket and its cookie, which isod gives to containers whose policy says so."""

import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from isod_contract import limits
from isod_contract.names import X11_DIRECTORY, is_x11_name

DIRECTORY = Path("/") / X11_DIRECTORY
_DISPLAY = re.compile(r"(?:unix)?:([0-9]{1,5})(?:\.[0-9]+)?")
_AUTHORITY_BYTES_MAX = 64 * 1024
# As GNOME and KDE name their files in the runtime directory, where $XAUTHORITY does not say; others each login.
_AUTHORITY_PATTERNS = (".mutter-Xwaylandauth.*", "xauth_*")
_COOKIE = b"MIT-MAGIC-COOKIE-1"


@dataclass(frozen=True, slots=True)
class XServer:
    """An X server of the host's as isod is told of it: equal to another if nothing of it has changed."""

    name: str
    identity: tuple[int, int]
    cookie: bytes

    def open(self, directory: Path = DIRECTORY) -> int:
        """Open its socket with O_PATH. Raises OSError, also if another one is there by now."""
        fd = os.open(directory / self.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != self.identity:
            os.close(fd)
            raise FileNotFoundError(f"{self.name} is another one by now")
        return fd

    @classmethod
    def find(cls, environment: Mapping[str, str], runtime_directory: Path, directory: Path = DIRECTORY) -> Self | None:
        """Find the server that DISPLAY names, else the newest socket of this user's own; None without one."""
        for name in _names(environment.get("DISPLAY", ""), directory):
            with suppress(OSError):
                status = (directory / name).lstat()
                if stat.S_ISSOCK(status.st_mode):
                    return cls(name, (status.st_dev, status.st_ino), _cookie(name[1:], environment, runtime_directory))
        return None


def _names(display: str, directory: Path) -> list[str]:
    named = _DISPLAY.fullmatch(display)
    own: list[tuple[int, str]] = []
    with suppress(OSError):
        for entry in os.scandir(directory):
            status = entry.stat(follow_symlinks=False)
            if is_x11_name(entry.name) and status.st_uid == os.getuid():
                own.append((status.st_mtime_ns, entry.name))
    return ([f"X{int(named[1])}"] if named else []) + [name for _, name in sorted(own, reverse=True)]


def _cookie(number: str, environment: Mapping[str, str], runtime_directory: Path) -> bytes:
    """Give the cookie of a display, empty if there is none."""
    for path in _authorities(environment, runtime_directory):
        with suppress(OSError, struct.error):
            with path.open("rb") as file:
                data = file.read(_AUTHORITY_BYTES_MAX)
            for entry_number, name, cookie in _entries(data):
                right = entry_number in (b"", number.encode()) and name == _COOKIE
                if right and 0 < len(cookie) <= limits.X11_COOKIE_BYTES_MAX:
                    return cookie
    return b""


def _authorities(environment: Mapping[str, str], runtime_directory: Path) -> list[Path]:
    if named := environment.get("XAUTHORITY"):
        return [Path(named)]
    found: list[tuple[int, Path]] = []
    for pattern in _AUTHORITY_PATTERNS:
        for path in runtime_directory.glob(pattern):
            with suppress(OSError):
                found.append((path.lstat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)] + [Path.home() / ".Xauthority"]


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Give number, name and data of each entry of an X authority file (Xauth(3)). Raises struct.error at its end."""
    offset = 0
    while offset < len(data):
        offset += 2  # the family: on this host the number of the display says enough
        fields = []
        for _ in range(4):
            (size,) = struct.unpack_from(">H", data, offset)
            fields.append(data[offset + 2 : offset + 2 + size])
            offset += 2 + size
        yield fields[1], fields[2], fields[3]
