"""A user's sockets inside a container, listened on by isod or mounted from the host: put there, and taken away."""

import os
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from isod.core.listeners import Listener, Listeners
from isod.core.sessions import Sessions
from isod.ports import Account, Caller, Directories, Directory, Mounter
from isod.resources.base import Attachment, How
from isod.resources.x11 import authority
from isod_contract.errors import IsodError, NoSession, Unsupported
from isod_contract.names import X11_AUTHORITY, X11_SOCKET


@dataclass(slots=True)
class UserAttachments:
    """What one user of the host has in one container."""

    caller: Caller
    account: Account | None = None
    attached: dict[str, Attachment] = field(default_factory=dict)
    problem: IsodError | None = None
    listeners: dict[str, Listener] = field(default_factory=dict)
    renewals: int = 0  # of sockets


class UserSockets:
    """Makes the steps; whoever calls sees to it that those for one container come one after another."""

    def __init__(self, *, sessions: Sessions, directories: Directories, mounter: Mounter, listeners: Listeners) -> None:
        """Take the parts."""
        self._sessions = sessions
        self._directories = directories
        self._mounter = mounter
        self._listeners = listeners

    def recover(self) -> None:
        """Take over what an earlier isod listened on."""
        self._listeners.recover()

    @property
    def waiting(self) -> int:
        """How many of those nobody has asked for yet."""
        return self._listeners.waiting

    def take_over(self, machine: str, uid: int) -> dict[str, Listener]:
        """Give those of a user in a container, by name."""
        return self._listeners.take_over(machine, uid)

    def forget(self, user: UserAttachments, machine: str, gone: AbstractSet[str]) -> None:
        """Take some away from a container that does not run."""
        for name in gone:
            self._close(user, name)
            user.attached.pop(name, None)
        files = gone | {X11_AUTHORITY} if X11_SOCKET in gone else gone
        self._listeners.remove_files(machine, user.caller.uid, files)

    async def attach(
        self, guest: Any, user: UserAttachments, directory_fd: int, place: Directory, item: Attachment
    ) -> None:
        """Have one attachment in the user's directory. Raises NoSession, Unsupported, UnsafePath, NoSpace."""
        make = self._listen if item.how is How.LISTEN else self._mount
        try:
            await make(guest, user, directory_fd, place, item)
        except BaseException:
            # Half done: what stood there is not what is there now.
            user.attached.pop(item.name, None)
            raise
        user.attached[item.name] = item

    async def _listen(
        self, guest: Any, user: UserAttachments, directory_fd: int, place: Directory, item: Attachment
    ) -> None:
        name = item.name
        if name == X11_SOCKET:
            self._directories.remove(directory_fd, X11_AUTHORITY)
        await self._unmount(guest, user, directory_fd, place, name)
        listener = user.listeners.get(name)
        standing = self._directories.identity(directory_fd, name, place)
        if listener is not None and standing is not None and listener.identity in (None, standing):
            listener.identity = standing
            return
        self._close(user, name)
        user.listeners[name] = self._listeners.make(directory_fd, name, place)
        user.renewals += 1  # the session must be told, also where an old one stood

    async def _mount(
        self, guest: Any, user: UserAttachments, directory_fd: int, place: Directory, item: Attachment
    ) -> None:
        name = item.name
        session = self._sessions.find(place.uid)
        host = session.sockets.get(name) if session is not None else None
        if host is None:
            raise NoSession(uid=place.uid, reason=f"{item.what}: its socket is not known")
        _check_mountable(guest, place.uid, user.account, item)
        if name == X11_SOCKET:
            self._directories.write(directory_fd, X11_AUTHORITY, authority(item.cookie), place)
        if await self._inside(guest, place.uid, name) == host.identity:
            return
        self._close(user, name)
        await self._unmount(guest, user, directory_fd, place, name)
        self._directories.ensure_place(directory_fd, name, place)
        try:
            await self._mounter.attach_socket(guest.pidfd, guest.uid_shift, place.uid, name, (host.name, host.fd))
        except OSError as error:
            raise Unsupported(what=item.what, reason=f"it can't be mounted ({error})") from None

    async def _unmount(self, guest: Any, user: UserAttachments, directory_fd: int, place: Directory, name: str) -> None:
        """Take away a mount over a name, if there is one: what the container sees is not what stands there."""
        attached = user.attached.get(name)
        inside = await self._inside(guest, place.uid, name)
        if inside is None or (attached is not None and attached.how is How.LISTEN):
            return
        if inside != _status_identity(directory_fd, name):
            with suppress(OSError):
                await self._mounter.detach_socket(guest.pidfd, place.uid, name)
            # One that is locked, in a container with a user namespace, goes with the file that it is mounted over.
            self._directories.remove(directory_fd, name)

    async def _inside(self, guest: Any, uid: int, name: str) -> tuple[int, int] | None:
        found: tuple[int, int] | None = await guest.offload.run(
            lambda: self._directories.identity_inside(guest.root_fd, uid, name)
        )
        return found

    async def remove(self, guest: Any, user: UserAttachments, directory_fd: int, name: str) -> None:
        """Take one away from a running container."""
        container = user.attached.get(name)
        if container is not None and container.how is How.MOUNT:
            with suppress(OSError):
                await self._mounter.detach_socket(guest.pidfd, user.caller.uid, name)
        self._close(user, name)
        self._directories.remove(directory_fd, name)
        if name == X11_SOCKET:
            self._directories.remove(directory_fd, X11_AUTHORITY)
        user.attached.pop(name, None)

    def _close(self, user: UserAttachments, name: str) -> None:
        self._listeners.close(user.listeners.pop(name, None))


def _check_mountable(guest: Any, uid: int, account: Account | None, item: Attachment) -> None:
    """Refuse what would be there and let no app in. Raises Unsupported."""
    if account is None or (account.uid == uid and not guest.uid_shift):
        return
    if item.key == "x11" and not item.cookie:
        # Xwayland of wlroots: SO_PEERCRED is all that it looks at.
        reason = f"it takes clients of uid {uid} alone, and apps in this container have another to the host"
        raise Unsupported(what=item.what, reason=reason)
    if guest.uid_shift and account.uid != uid:
        reason = f"with a user namespace {account.name!r} must have uid {uid} inside, as on the host"
        raise Unsupported(what=item.what, reason=reason)


def _status_identity(directory_fd: int, name: str) -> tuple[int, int] | None:
    try:
        status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino
