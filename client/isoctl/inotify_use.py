"""How many inotify watches the processes of an account hold (inotify(7)), by descriptor: proc_pid_fdinfo(5)."""

import os
import time
from collections.abc import Callable, Iterator

# From here on are users of containers with user namespaces (nspawn's range), whom the kernel counts as root too.
_SHIFTED_UIDS_FROM = 1 << 19
_LINK = "anon_inode:inotify"
_WATCH = b"inotify wd:"
_DEADLINE_SEC = 2.0


def watches_of(uid: int, enough: int) -> int:
    """Count them, up to a number that is enough to know, and for at most two seconds: many are there to be read."""
    deadline = time.monotonic() + _DEADLINE_SEC
    count = 0
    for path in _descriptors(lambda owner: owner == uid or (uid == 0 and owner >= _SHIFTED_UIDS_FROM)):
        try:
            with open(path, "rb") as file:
                for line in file:
                    count += line.startswith(_WATCH)
                    if count >= enough:
                        return count
        except OSError:
            continue  # it has ended
        if time.monotonic() > deadline:
            break
    return count


def _descriptors(is_counted: Callable[[int], bool]) -> Iterator[str]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if not is_counted(os.stat(f"/proc/{pid}").st_uid):
                continue
            numbers = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for number in numbers:
            try:
                if os.readlink(f"/proc/{pid}/fd/{number}") == _LINK:
                    yield f"/proc/{pid}/fdinfo/{number}"
            except OSError:
                continue
