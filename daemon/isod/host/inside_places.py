"""What lies on file systems of a container's own: by descriptor from its root, and only where the kernel answers."""

import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from isod.host import rootfs
from isod.host.answering import Answering, Budget, MayNeverAnswerError, TooMuchError
from isod.host.mount_table import Mount, at, is_below, is_proc_masked
from isod.host.network_tables import unheard
from isod.ports import Account
from isod.survey_ports import Places, Resolver, Space
from isod_contract.errors import IsodError

_BYTES_MAX = 64 * 1024
_RESOLV_CONF = "etc/resolv.conf"
_SERVERS_MAX = 16
_PARENTS_MAX = 8
# Of systemd-resolved(8).
_STUBS = frozenset({"127.0.0.53", "127.0.0.54"})
# Modules of nsswitch.conf(5) that know the machine's own name: nss-myhostname(8), nss-resolve(8).
_KNOW_OWN_NAME = frozenset({"myhostname", "resolve"})

T = TypeVar("T")


class PlacesOf:
    """Looks at one container, once."""

    def __init__(self, guest: Any, mounts: Sequence[Mount]) -> None:
        """Take a guest, and the mounts that its init sees."""
        self._root_fd = guest.root_fd
        self._budget = Budget()
        self._files = Answering(guest.root_fd, mounts, self._budget)
        self._machine = guest.machine
        self._shift = guest.uid_shift
        self._mounts = mounts
        self._unseen: list[str] = []
        self._unasked: list[str] = []

    def look(self, account: Account | None, sockets: tuple[str, str], hosts_resolv_conf: str) -> Places:
        """Look at all: with its /proc/net/udp and udp6, and the host's resolv.conf where it has the host's network."""
        return Places(
            tmp=self._told("/tmp", self._tmp, Space()),  # noqa: S108 - looked at, not used
            home=self._told("the account's home", lambda: self._home(account), ""),
            proc_is_masked=is_proc_masked(self._mounts),
            unresolved_name=self._told("/etc/hosts", self._unresolved_name, ""),
            resolver=self._told("/etc/resolv.conf", lambda: self._resolver(sockets, hosts_resolv_conf), None),
            # After the others, since its share of the budget grows with the mounts.
            parents=self._told("mounts in the account's home", lambda: tuple(self._parents(account)), ()),
            unseen=tuple(self._unseen),
            unasked=tuple(self._unasked),
        )

    def _told(self, what: str, look: Callable[[], T], otherwise: T) -> T:
        """Give what a look gives; one that fails is told, and keeps no other from being done."""
        try:
            return look()
        except (MayNeverAnswerError, TooMuchError) as error:
            self._unasked.append(f"{what} ({error})")
            return otherwise
        except (OSError, IsodError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._unseen.append(f"{what} ({reason})")
            return otherwise

    def _tmp(self) -> Space:
        mount = at(self._mounts, "/tmp")  # noqa: S108
        if mount is None:
            return Space()
        with self._files.opened(mount.place) as fd:
            return space_of(fd)

    # -- the home

    def _home(self, account: Account | None) -> str:
        if account is None or account.uid == 0:
            return ""
        status = self._status(account.home)
        owner = self._shift + account.uid
        if status is None:
            return "is not there"
        if not stat.S_ISDIR(status.st_mode):
            return "is no directory"
        if _may_write(status, owner, self._shift + account.gid):
            return ""
        if status.st_uid != owner:
            inside = status.st_uid - self._shift
            return f"belongs to {'root' if inside == 0 else f'uid {inside}' if inside > 0 else 'nobody'} inside"
        return f"has mode {stat.S_IMODE(status.st_mode):04o}"

    def _parents(self, account: Account | None) -> Iterator[str]:
        """Give root's directories between the home and mounts below it: nspawn makes what is not there, as root."""
        if account is None or account.uid == 0 or account.home == "/":
            return
        parents = {
            parent
            for mount in self._mounts
            if mount.place != account.home and is_below(mount.place, account.home)
            for parent in self._between(account.home, mount.place)
        }
        for parent in sorted(parents)[:_PARENTS_MAX]:
            status = self._status(parent)
            if status is not None and status.st_uid == self._shift:
                yield parent

    def _between(self, home: str, place: str) -> Iterator[str]:
        """Give the directories between a home, which may be written oddly, and a place below it."""
        while (place := posixpath.dirname(place)) not in (home, "/") and is_below(place, home):
            self._budget.step()
            yield place

    def _status(self, path: str) -> os.stat_result | None:
        try:
            with self._files.opened(path) as fd:
                return os.fstat(fd)
        except (FileNotFoundError, NotADirectoryError):
            return None

    # -- names

    def _unresolved_name(self) -> str:
        lines = self._lines("etc/hostname")
        name = next((line for line in lines if line and not line.startswith("#")), self._machine)
        named = {word for line in self._lines("etc/hosts") for word in line.partition("#")[0].split()[1:]}
        switch = {
            word
            for line in self._lines("etc/nsswitch.conf")
            if line.startswith("hosts:")
            for word in line.partition(":")[2].split()
        }
        return "" if name in named or switch & _KNOW_OWN_NAME else name

    def _resolver(self, sockets: tuple[str, str], hosts_resolv_conf: str) -> Resolver:
        # Without a server in it, or without the file, the machine itself is asked: resolv.conf(5).
        servers = name_servers("\n".join(self._lines(_RESOLV_CONF))) or ("127.0.0.1",)
        silent = unheard(servers, *sockets)
        return Resolver(servers=servers, silent=silent, hosts_servers=self._newer(hosts_resolv_conf, servers))

    def _newer(self, hosts_resolv_conf: str, servers: tuple[str, ...]) -> tuple[str, ...]:
        """Give the host's name servers if the container has a copy of an earlier form of its file."""
        if not hosts_resolv_conf:
            return ()
        try:
            with open(hosts_resolv_conf, errors="replace") as file:
                changed = os.fstat(file.fileno()).st_mtime_ns
                hosts = name_servers(file.read(_BYTES_MAX))
        except OSError:
            return ()
        try:
            with rootfs.opened(self._root_fd, _RESOLV_CONF, os.O_PATH | os.O_NOFOLLOW) as fd:
                copied = os.fstat(fd).st_mtime_ns
        except OSError:  # a link to what a resolver of its own writes, or nothing
            return ()
        # resolved's stub is what nspawn copies from another file than the host's, and resolved follows changes.
        is_old = copied < changed and set(hosts) != set(servers) and not set(servers) <= _STUBS
        return hosts if is_old else ()

    def _lines(self, path: str) -> list[str]:
        """Give the stripped lines of a small file as the container sees it; none where it is not there."""
        try:
            with self._files.opened_to_read("/" + path) as fd:
                text = os.pread(fd, _BYTES_MAX, 0)
        except FileNotFoundError:
            return []
        return [line.strip() for line in text.decode(errors="replace").splitlines()]


def space_of(fd: int) -> Space:
    """Ask a file system for its room. Raises OSError."""
    found = os.fstatvfs(fd)
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, found.f_favail, found.f_files)


def name_servers(text: str) -> tuple[str, ...]:
    """Give the servers of a resolv.conf(5), as written."""
    pairs = (line.split() for line in text.splitlines())
    return tuple(pair[1] for pair in pairs if len(pair) > 1 and pair[0] == "nameserver")[:_SERVERS_MAX]


def _may_write(status: os.stat_result, uid: int, gid: int) -> bool:
    """Tell whether an account may enter a directory and make something there."""
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    return status.st_mode >> shift & 0o3 == 0o3
