"""Reading the desktop entries of a container, through its root descriptor; blocking, so called through the offload."""

import itertools
import logging
import os
import stat
import time
from collections.abc import Iterator, Sequence

from isod.desktop_entry import Application, parse
from isod.host.as_account import Closed, Viewer, open_readable, reach
from isod.ports import Account
from isod_contract import limits

_log = logging.getLogger(__name__)

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
# Where a TryExec without a directory is looked for. The profile's PATH is not known here, so these are all that
# distributions use: an application that is shown in vain says what is missing, one that is not shown says nothing.
_PROGRAMS = (
    "{home}/.local/bin",
    "{home}/bin",
    "{home}/.local/state/nix/profile/bin",
    "{home}/.nix-profile/bin",
    "etc/profiles/per-user/{user}/bin",
    "run/current-system/sw/bin",
    "usr/local/bin",
    "usr/bin",
    "bin",
    "usr/local/games",
    "usr/games",
    "usr/local/sbin",
    "usr/sbin",
    "snap/bin",
)
_ENTRIES_READ_MAX = 4096  # of one directory, and of all
_DIRECTORIES_READ_MAX = 512
_DEPTH_MAX = 8  # of directories below "applications"
_CHARS_MAX = 1024 * 1024  # of all that is told: a reply is bounded, and one that is larger is an error
_DEADLINE_SEC = 3.0  # what was read until then is told; the offload's own deadline would take all of it


def read_applications(
    root_fd: int, account: Account, languages: Sequence[str], desktops: Sequence[str], *, uid_shift: int = 0
) -> list[Application]:
    """Give what a menu shows, by name; what can't be read, or is more than a reply holds, is left out.

    `uid_shift` is what the container's root is on the host.
    """
    seen: set[str] = set()
    found: list[Application] = []
    chars_left = _CHARS_MAX
    reading = _Reading(root_fd, account, Viewer(uid_shift + account.uid, is_root=account.uid == 0))
    for app_id, path in reading.files():
        if app_id in seen:
            continue
        seen.add(app_id)
        text = reading.text_of(path)
        application = parse(app_id, text, languages, desktops) if text else None
        if application is None or not reading.has(application.untrusted_try_exec):
            continue
        told = (application.id, application.name, application.comment, application.directory, *application.command)
        chars_left -= sum(map(len, told))
        if chars_left < 0 or len(found) >= limits.APPLICATIONS_MAX:
            break
        found.append(application)
    return sorted(found, key=lambda item: item.name.casefold())


class _Reading:
    """One look at the files of a container, in which all together is bounded."""

    def __init__(self, root_fd: int, account: Account, viewer: Viewer) -> None:
        """Begin; the account's name and home are what the container says."""
        self._root_fd, self._viewer = root_fd, viewer
        self._home, self._user = account.home.strip("/"), account.name
        self._files_left = _ENTRIES_READ_MAX
        self._directories_left = _DIRECTORIES_READ_MAX
        self._deadline_sec = time.monotonic() + _DEADLINE_SEC
        self._was_late = False
        self._programs: dict[str, bool] = {}

    def files(self) -> Iterator[tuple[str, str]]:
        """Give id and path of each desktop entry, those that hide others first.

        The id is the path below "applications" with each / as a - (Desktop Menu Specification 1.0).
        """
        for pattern in self._places(_DIRECTORIES):
            yield from self._below(f"{pattern}/applications", "", ())

    def has(self, untrusted_program: str) -> bool:
        """Tell whether a program of TryExec is there; true without one."""
        if not untrusted_program:
            return True
        if untrusted_program not in self._programs:
            self._programs[untrusted_program] = not self._is_late() and self._is_there(untrusted_program)
        return self._programs[untrusted_program]

    def text_of(self, path: str) -> str:
        """Read a small regular file as text; "" for anything else."""
        try:
            fd, status = open_readable(self._root_fd, path, self._viewer)
        except (OSError, Closed):
            return ""
        try:
            if not stat.S_ISREG(status.st_mode) or status.st_size > limits.DESKTOP_ENTRY_BYTES_MAX:
                return ""
            return _decoded(os.read(fd, limits.DESKTOP_ENTRY_BYTES_MAX))
        except OSError:
            return ""
        finally:
            os.close(fd)

    def _is_there(self, untrusted_program: str) -> bool:
        if "/" not in untrusted_program:
            return any(self._is_program(f"{place}/{untrusted_program}") for place in self._places(_PROGRAMS))
        return untrusted_program.startswith("/") and self._is_program(untrusted_program)

    def _places(self, patterns: Sequence[str]) -> list[str]:
        return [pattern.format(home=self._home, user=self._user) for pattern in patterns]

    def _below(self, path: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, str]]:
        """Go through a directory; `above` are those that led here, so that no link makes a circle of them."""
        if len(above) > _DEPTH_MAX or self._directories_left <= 0 or self._is_late():
            return
        self._directories_left -= 1
        identity, names = self._entries(path)
        if identity is None or identity in above:
            return
        for name, may_be_directory in names:
            if name.endswith(".desktop"):
                if self._files_left <= 0 or self._is_late():
                    return
                self._files_left -= 1
                yield prefix + name.removesuffix(".desktop"), f"{path}/{name}"
            elif may_be_directory:
                yield from self._below(f"{path}/{name}", f"{prefix}{name}-", (*above, identity))

    def _is_program(self, path: str) -> bool:
        """Tell whether a file can be executed; yes where the account may not look: it is to find out itself."""
        try:
            fd = reach(self._root_fd, path, self._viewer)
        except Closed:
            return True
        except (OSError, ValueError):
            return False
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            return False
        finally:
            os.close(fd)
        return stat.S_ISREG(mode) and bool(mode & 0o111)

    def _entries(self, path: str) -> tuple[tuple[int, int] | None, list[tuple[str, bool]]]:
        """List a directory: its identity, and each name with whether it may be a directory; the first if many."""
        try:
            # Symlinks are followed: in NixOS every one of these is one.
            directory_fd, status = open_readable(self._root_fd, path, self._viewer)
        except (OSError, Closed):
            return None, []
        try:
            with os.scandir(directory_fd) as entries:
                some = itertools.islice(entries, _ENTRIES_READ_MAX)
                names = [(entry.name, entry.is_symlink() or entry.is_dir(follow_symlinks=False)) for entry in some]
        except OSError:
            return None, []
        finally:
            os.close(directory_fd)
        return (status.st_dev, status.st_ino), sorted(names)

    def _is_late(self) -> bool:
        is_late = time.monotonic() > self._deadline_sec
        if is_late and not self._was_late:
            _log.warning("applications.cut_short", extra={"account": self._user, "sec": _DEADLINE_SEC})
        self._was_late = is_late
        return is_late


def _decoded(raw: bytes) -> str:
    """Give the text of a file; a line that is no UTF-8 is Latin-1, as of old ("Legacy-Mixed" in the specification)."""
    lines = []
    for line in raw.split(b"\n"):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            lines.append(line.decode("latin-1"))
    return "\n".join(lines)
