"""Who sent a message: the broker's word, asked once per connection and dropped when the connection ends."""

import asyncio
import grp
import os
import pwd
import re
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from isod.bus.refusal import access_denied
from isod.ports import Caller, HostUnits
from isod_contract.errors import IsodError
from isod_wire import Connection, MatchRule, Message, WireError

_BUS = "org.freedesktop.DBus"
_BUS_PATH = "/org/freedesktop/DBus"
_UNIQUE_NAME = re.compile(r":[0-9]+\.[0-9]+")
_TIMEOUT_SEC = 10.0
_CONTAINER_UNIT = re.compile(r"(?:container@|systemd-nspawn@|machine-|libpod-|docker-).*")

_Result = TypeVar("_Result")


class CallerGoneError(Exception):
    """The caller left the bus while something was under way for it."""


def looks_like_container_unit(unit: str) -> bool:
    """Tell whether a unit's name is one that container managers give to containers."""
    return _CONTAINER_UNIT.fullmatch(unit) is not None


def is_machine_slice(slice_unit: str) -> bool:
    """Tell whether a slice is the one of virtual machines and containers (systemd.special(7)), or lies in it."""
    return slice_unit == "machine.slice" or slice_unit.startswith("machine-")


def is_unique_name(untrusted_sender: str | None) -> bool:
    """Tell whether a sender is a connection; the broker sets it, so anything else means there is no broker."""
    return untrusted_sender is not None and _UNIQUE_NAME.fullmatch(untrusted_sender) is not None


class Callers:
    """Looks callers up and knows which of them are still there."""

    def __init__(
        self,
        *,
        connection: Connection,
        units: HostUnits,
        is_container_unit: Callable[[str], bool] = looks_like_container_unit,
    ) -> None:
        """Take the system bus, the host's systemd and a test for units that are containers."""
        self._connection = connection
        self._units = units
        self._is_container_unit = is_container_unit
        self._uids: dict[str, asyncio.Task[int]] = {}
        self._lookups: dict[str, asyncio.Task[Caller]] = {}
        self._on_gone: list[Callable[[str], None]] = []
        self._waiting: dict[str, set[asyncio.Task[Any]]] = {}
        # NSS may ask a directory server and block: two threads of its own, so that nothing else waits behind it.
        self._names = ThreadPoolExecutor(max_workers=2, thread_name_prefix="nss")

    async def open(self) -> None:
        """Begin to watch connections end; must come before the first lookup, or one could end unnoticed."""
        rule = MatchRule(sender=_BUS, interface=_BUS, member="NameOwnerChanged", arg2="")
        await self._connection.add_match(rule, self._name_lost)

    def close(self) -> None:
        """Drop all lookups."""
        for task in (*self._uids.values(), *self._lookups.values()):
            task.cancel()
        self._names.shutdown(wait=False, cancel_futures=True)

    def on_gone(self, callback: Callable[[str], None]) -> None:
        """Call back with the unique name of each known caller that leaves the bus."""
        self._on_gone.append(callback)

    def still_there(self, sender: str) -> bool:
        """Tell whether a caller that was looked up is still connected; ask after each await (CVE-2021-3560).

        The broker tells of the end of a connection before it passes on any reply that it got later, so this is never
        older than the answer of polkit or systemd that was just awaited.
        """
        return sender in self._lookups

    def known_uid(self, name: str | None) -> int | None:
        """Give whose connection a name is, if it is a caller's and the broker has told that already."""
        return _result(self._uids.get(name)) if name else None

    def known(self, sender: str) -> Caller | None:
        """Give a caller that was looked up and is still connected; None for any other."""
        return _result(self._lookups.get(sender))

    async def while_there(self, sender: str, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Await something for a caller; it is cancelled, and CallerGoneError raised, once the caller leaves the bus."""
        if not self.still_there(sender):
            work.close()
            raise CallerGoneError
        task = asyncio.get_running_loop().create_task(work)
        waiting = self._waiting.setdefault(sender, set())
        waiting.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled() and not self.still_there(sender):
                raise CallerGoneError from None
            task.cancel()
            raise
        finally:
            waiting.discard(task)
            if not waiting:
                self._waiting.pop(sender, None)

    async def uid_of(self, sender: str) -> int:
        """Give whose connection a name is: all that one who calls too much is asked for. Raises RefusedError."""
        return await self._shared(self._uids, sender, self._ask_uid)

    async def resolve(self, sender: str) -> Caller:
        """Give the caller behind a unique name; raises RefusedError (AccessDenied) if any fact about it is missing."""
        return await self._shared(self._lookups, sender, self._ask)

    async def _shared(
        self,
        lookups: dict[str, asyncio.Task[_Result]],
        sender: str,
        ask: Callable[[str], Coroutine[Any, Any, _Result]],
    ) -> _Result:
        """Have several calls of one connection wait for one lookup; the broker never gives a unique name twice."""
        task = lookups.get(sender)
        if task is None:
            task = lookups[sender] = asyncio.get_running_loop().create_task(_in_time(ask, sender))
            task.add_done_callback(lambda done: _forget_failed(lookups, sender, done))
        try:
            # Shielded: one call that is cancelled must not take the lookup from the others.
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise access_denied("You left the bus") from None
            raise

    def _name_lost(self, message: Message) -> None:
        name = message.body[0]
        tasks = [task for task in (self._uids.pop(name, None), self._lookups.pop(name, None)) if task is not None]
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        for work in list(self._waiting.get(name, ())):
            work.cancel()
        for callback in self._on_gone:
            callback(name)

    async def _ask_uid(self, sender: str) -> int:
        with await self._connection.call(
            _BUS, _BUS_PATH, _BUS, "GetConnectionUnixUser", "s", [sender], timeout_sec=_TIMEOUT_SEC, expect="u"
        ) as reply:
            return int(reply.body[0])

    async def _ask(self, sender: str) -> Caller:
        reply = await self._connection.call(
            _BUS, _BUS_PATH, _BUS, "GetConnectionCredentials", "s", [sender], timeout_sec=_TIMEOUT_SEC, expect="a{sv}"
        )
        with reply:
            credentials = {key: value.value for key, value in reply.body[0].items()}
            uid, pid = credentials.get("UnixUserID"), credentials.get("ProcessID")
            if type(uid) is not int or type(pid) is not int or pid <= 0:
                raise access_denied("Your credentials can't be established")
            unit = await self._unit_of(reply, credentials.get("ProcessFD"), pid)
        if self._is_container_unit(unit) or is_machine_slice(await self._units.slice_of(unit)):
            # Numbers are the same inside, so a container's process would count as the host's user of that uid, or as
            # root. It has no business here whatever it says.
            raise access_denied("Processes of containers can't call isod")
        groups = credentials.get("UnixGroupIDs")
        user, group_names = await asyncio.get_running_loop().run_in_executor(self._names, _names_of, uid, groups)
        return Caller(sender=sender, uid=uid, user=user, groups=group_names, pid=pid, unit=unit)

    async def _unit_of(self, reply: Message, fd_index: object, pid: int) -> str:
        """Give the unit of the caller's process; raises IdentityMismatch, OSError if it is not alive any more."""
        # Brokers without ProcessFD (dbus-daemon before 1.15.7) leave the pid, which may have been used again after its
        # process exited and left the connection to a child: good enough to know the unit by, no proof.
        pidfd = reply.take_fd(fd_index) if isinstance(fd_index, int) else os.pidfd_open(pid)
        try:
            unit, _ = await self._units.unit_of_pidfd(pidfd)
        finally:
            os.close(pidfd)
        return unit


def _result(task: asyncio.Task[_Result] | None) -> _Result | None:
    if task is None or not task.done() or task.cancelled() or task.exception():
        return None
    return task.result()


async def _in_time(ask: Callable[[str], Coroutine[Any, Any, _Result]], sender: str) -> _Result:
    try:
        async with asyncio.timeout(_TIMEOUT_SEC):
            return await ask(sender)
    except (WireError, OSError, IsodError, TimeoutError):
        # Whatever failed, a caller of whom something is unknown is nobody. There is no uid to fall back on.
        raise access_denied("Your credentials can't be established") from None


def _forget_failed(lookups: dict[str, asyncio.Task[_Result]], sender: str, task: asyncio.Task[_Result]) -> None:
    if (task.cancelled() or task.exception()) and lookups.get(sender) is task:
        # A failure is not remembered: the next call asks again.
        del lookups[sender]


def _names_of(uid: int, group_ids: object) -> tuple[str, frozenset[str]]:
    """Give the names of an account and of its groups; blocks for as long as NSS does.

    The groups are those of the process, as the broker got them from the kernel; where it does not tell them, those
    of the account. An account without a name has neither.
    """
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return "", frozenset()
    ids = list(group_ids) if isinstance(group_ids, list) else os.getgrouplist(account.pw_name, account.pw_gid)
    names = set()
    for group_id in ids:
        try:
            names.add(grp.getgrgid(group_id).gr_name)
        except KeyError:
            continue
    return account.pw_name, frozenset(names)
