"""Accounts of a container, from its own /etc/passwd as bytes; nothing of the host's NSS is asked."""

import contextlib
import os
import stat

from isod.host import rootfs
from isod.ports import Account
from isod_contract.names import is_account_name

_UID_MAX = 2**31 - 1


def parse_passwd(untrusted_text: bytes) -> dict[str, Account]:
    """Read passwd(5) lines; lines that are not well formed are left out, the first of a name wins."""
    accounts: dict[str, Account] = {}
    for line in untrusted_text.split(b"\n"):
        fields = line.split(b":")
        if len(fields) != 7 or not (fields[2].isdigit() and fields[3].isdigit()):
            continue
        uid, gid = int(fields[2]), int(fields[3])
        if uid > _UID_MAX or gid > _UID_MAX:
            continue
        try:
            name, home, shell = fields[0].decode(), fields[5].decode(), fields[6].decode()
        except UnicodeDecodeError:
            continue
        if not is_account_name(name):
            continue
        accounts.setdefault(name, Account(name=name, uid=uid, gid=gid, home=home, shell=shell))
    return accounts


def groups_of(untrusted_text: bytes, name: str) -> tuple[str, ...]:
    """Read group(5) lines; give those whose list of members has the name, as far as they are well formed."""
    found = []
    for line in untrusted_text.split(b"\n"):
        fields = line.split(b":")
        if len(fields) == 4 and name.encode() in fields[3].split(b","):
            with contextlib.suppress(UnicodeDecodeError):
                group = fields[0].decode()
                if is_account_name(group):
                    found.append(group)
    return tuple(found)


class AccountCache:
    """The accounts of one running container, read again when its file changes."""

    def __init__(self, root_fd: int, container: str) -> None:
        """Take the container's root directory, which the caller keeps open."""
        self._root_fd = root_fd
        self._container = container
        self._stamp: tuple[int, ...] = ()
        self._accounts: dict[str, Account] = {}

    def find(self, name: str) -> Account | None:
        """Look an account up; blocking, so called off the loop. Raises UnsafePath."""
        try:
            with rootfs.opened(self._root_fd, "etc/passwd", os.O_PATH | os.O_NOFOLLOW) as fd:
                status = os.fstat(fd)
        except OSError:
            status = None
        stamp = () if status is None else (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if status is None or stamp != self._stamp or not stat.S_ISREG(status.st_mode):
            self._accounts = parse_passwd(rootfs.read_table(self._root_fd, "etc/passwd", self._container))
            self._stamp = stamp
        return self._accounts.get(name)
