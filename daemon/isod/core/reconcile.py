"""What is attached to running containers, made equal to what policy and live sessions ask for.

Desired attachments follow from policy and sessions; actual ones are looked at, not remembered. Every event only asks
for another round, and a container's rounds come one after another: hot-plug, start-up and recovery are the same code.
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

from isod.authorise import sees
from isod.core.activation import Activation
from isod.core.background import Background
from isod.core.container import Container
from isod.core.events import Events
from isod.core.sessions import Sessions
from isod.core.shown import ShownDirectories
from isod.core.user_sockets import UserAttachments, UserSockets
from isod.core.windows import ShownSocket, bound_to
from isod.ports import Account, AuditSink, Caller, Directories, Directory
from isod.resources import kinds
from isod.resources.base import Attachment, How
from isod_contract.errors import ContainerGone, IsodError, NoSession, Unsupported
from isod_contract.names import X11_DIRECTORY, X11_SOCKET
from isod_contract.records import ATTACH, DETACH

_log = logging.getLogger(__name__)

_NO_SERVICE = "isod-session does not run; `journalctl --user -u isod-session` says why, if this is a desktop session"


class Reconciler:
    """Keeps the attachments of all containers right."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        activation: Activation,
        directories: Directories,
        shown: ShownDirectories,
        sockets: UserSockets,
        audit: AuditSink,
        events: Events,
    ) -> None:
        """Take the ports, and follow the sessions."""
        self._sessions = sessions
        self._activation = activation
        self._directories = directories
        self._shown = shown
        self._sockets = sockets
        self._audit = audit
        self._events = events
        self._users: dict[Container, dict[int, UserAttachments]] = {}
        self._turns: dict[Container, asyncio.Lock] = {}
        self._background = Background()
        sessions.listen(self._session_changed)

    def recover(self) -> None:
        """Take over what an earlier isod listened on."""
        self._sockets.recover()

    def sockets_held(self) -> int:
        """Count the sockets that isod listens on for containers."""
        return self._sockets.waiting + sum(
            len(user.listeners) for users in self._users.values() for user in users.values()
        )

    def attachments(self, container: Container, caller: Caller) -> list[dict[str, str]]:
        """Give what is attached now, as far as the caller may know."""
        if container.guest is None:
            return []
        return [
            {"resource": item.key, "uid": str(uid), "what": item.what}
            | ({"exposed": item.exposed} if item.exposed else {})
            for uid, user in self._users.get(container, {}).items()
            if caller.is_root or caller.uid == uid
            for item in user.attached.values()
        ]

    def shown(self, container: Container) -> list[tuple[Caller, frozenset[str]]]:
        """Give to whom which displays are shown in a running container, other than those that end with the grant.

        That is all but an X server of the container's own: what is connected to that ends with it.
        """
        if container.guest is None:
            return []
        found = [
            (user.caller, frozenset(item.key for item in user.attached.values() if _outlives_grant(item)))
            for user in self._users.get(container, {}).values()
        ]
        return [(caller, keys) for caller, keys in found if keys]

    async def for_launch(
        self, container: Container, guest: Any, caller: Caller, account: Account
    ) -> tuple[Mapping[str, Attachment], IsodError | None]:
        """Make right what a launch needs; gives attachments by resource, and why one is missing.

        Raises UnsafePath, NoSpace, ContainerGone, Unsupported.
        """
        if await self._sessions.wait_for(caller.uid) is None:
            return {}, NoSession(uid=caller.uid, reason=_NO_SERVICE)
        user = await self._round(container, guest, caller, account)
        return {item.key: item for item in user.attached.values()}, user.problem

    async def open(self, container: Container, caller: Caller) -> dict[str, int]:
        """Give the caller's listening sockets in a running container, by resource; the fds are the receiver's.

        Raises NoSession for anybody but the caller's registered isod-session; ContainerGone, UnsafePath, NoSpace.
        """
        session = self._sessions.find(caller.uid)
        if session is None or session.caller.sender != caller.sender:
            raise NoSession(uid=caller.uid, reason="these sockets are for isod-session; RegisterSession comes first")
        guest = container.guest
        if guest is None:
            raise ContainerGone(container=container.name, reason="it does not run")
        account = await guest.account(container.account_for(caller))
        if account is None:
            return {}
        user = await self._round(container, guest, caller, account)
        return {
            user.attached[name].key: os.dup(listener.fd)
            for name, listener in user.listeners.items()
            if name in user.attached
        }

    def sockets(self, container: Container) -> list[ShownSocket]:
        """Give the sockets of displays that are shown in a container. Raises OSError."""
        found = []
        for uid, user in self._users.get(container, {}).items():
            session = self._sessions.find(uid)
            account = user.account
            if account is None:
                continue
            for name in user.attached:
                listener = user.listeners.get(name)
                host = session.sockets.get(name) if session is not None else None
                if listener is not None:
                    found.append(ShownSocket(account.uid, bound_to(listener.fd), is_isods=True))
                elif host is not None:
                    place = X11_DIRECTORY if name == X11_SOCKET else f"run/user/{uid}"
                    found.append(ShownSocket(account.uid, f"/{place}/{host.name}"))
        return found

    def has_own_x_server(self, container: Container, caller: Caller) -> bool:
        """Tell whether the caller's X clients in a running container have a server of the container's own."""
        user = self._users.get(container, {}).get(caller.uid)
        attached = user.attached.values() if user is not None and container.guest is not None else ()
        return any(item.key == "x11" and item.how is How.LISTEN for item in attached)

    def policy_changed(self, containers: Iterable[Container]) -> None:
        """Look at everything."""
        for container in containers:
            self._touch(container)

    def _session_changed(self, uid: int) -> None:
        for container, users in self._users.items():
            if uid in users:
                self._touch(container)

    def _touch(self, container: Container) -> None:
        """Ask for a round for each user who has something there."""
        for user in self._users.get(container, {}).values():
            self._background.spawn(self._look(container, user))

    async def _look(self, container: Container, user: UserAttachments) -> None:
        guest, account = container.guest, user.account
        if guest is None:
            await self._withdraw(container, user)
            if container.guest is not None:
                await self._look(container, user)
        elif account is not None:
            try:
                # After a restart with another range of uids the account is another one to the host.
                fresh = await guest.account(account.name)
                await self._round(container, guest, user.caller, fresh or account)
                if isinstance(user.problem, Unsupported):
                    raise user.problem
            except (IsodError, TimeoutError) as error:
                told = {"container": container.name, "uid": user.caller.uid, "reason": str(error)}
                _log.warning("display.not_attached", extra=told)

    async def _withdraw(self, container: Container, user: UserAttachments) -> None:
        """Take from a container that does not run what is no longer due: it must not be there when that starts."""
        async with self._turns.setdefault(container, asyncio.Lock()):
            wanted, _ = self._wanted(container, user)
            gone = (user.attached.keys() | user.listeners.keys()) - wanted.keys()
            if container.guest is not None or not gone:
                return
            before = dict(user.attached)
            self._sockets.forget(user, container.machine, gone)
            self._tell(container, user.caller.uid, before, user)

    async def _round(self, container: Container, guest: Any, caller: Caller, account: Account) -> UserAttachments:
        async with self._turns.setdefault(container, asyncio.Lock()):
            user = self._users.setdefault(container, {}).setdefault(caller.uid, UserAttachments(caller))
            if not user.listeners:
                user.listeners = self._sockets.take_over(container.machine, caller.uid)
            user.caller, user.account = caller, account
            before, renewals = dict(user.attached), user.renewals
            try:
                await self._apply(container, guest, user, account)
            finally:
                if not user.attached:
                    self._activation.withdraw(container, guest, account)
                if (before, renewals) != (user.attached, user.renewals):
                    self._tell(container, caller.uid, before, user)
            return user

    def _tell(self, container: Container, uid: int, before: dict[str, Attachment], user: UserAttachments) -> None:
        for name in before.keys() - user.attached.keys():
            self._audit.record(DETACH, uid=uid, container=container.name, resource=before[name].key)
        for name in user.attached.keys() - before.keys():
            self._audit.record(ATTACH, uid=uid, container=container.name, resource=user.attached[name].key)
        self._events.container_changed(container, "Attachments")

    def _wanted(self, container: Container, user: UserAttachments) -> tuple[dict[str, Attachment], IsodError | None]:
        if not sees(container.policy, user.caller):
            return {}, None
        session = self._sessions.find(user.caller.uid)
        grants = container.grants()
        if session is None:
            # One that may come back in a moment finds everything as it was, but for what policy took away.
            away = self._sessions.is_away(user.caller.uid)
            return {name: item for name, item in user.attached.items() if away and grants[item.key] != "none"}, None
        wanted: dict[str, Attachment] = {}
        problem: IsodError | None = None
        for kind in kinds().values():
            found = kind.attachment(grants, session)
            if isinstance(found, Attachment):
                wanted[found.name] = found
            elif found is not None:
                problem = problem or found
        return wanted, problem

    async def _apply(self, container: Container, guest: Any, user: UserAttachments, account: Account) -> None:
        wanted, user.problem = self._wanted(container, user)
        if not wanted and not user.attached and not user.listeners:
            return
        uid = user.caller.uid
        away = self._sessions.is_away(uid)
        place = Directory(container.machine, uid, (guest.uid_shift + account.uid, guest.uid_shift + account.gid))
        run_fd = await self._shown.open(container, guest, "run", "a display")
        try:
            directory_fd = self._directories.ensure_directory(run_fd, place)
            try:
                # What an earlier isod listened on is not known to be wanted until the session is back.
                for name in (user.attached.keys() | (set() if away else user.listeners.keys())) - wanted.keys():
                    await self._sockets.remove(guest, user, directory_fd, name)
                if not away:
                    for item in wanted.values():
                        try:
                            await self._sockets.attach(guest, user, directory_fd, place, item)
                        except (NoSession, Unsupported) as error:
                            # One that can't be had here is no reason to go without the other.
                            user.problem = user.problem or error
            finally:
                os.close(directory_fd)
            if not wanted:
                self._directories.remove_directory(run_fd, uid)
        finally:
            os.close(run_fd)


def _outlives_grant(item: Attachment) -> bool:
    """Tell whether a client that is connected stays so: the server is the user's, and goes on."""
    return not (item.key == "x11" and item.how is How.LISTEN)
