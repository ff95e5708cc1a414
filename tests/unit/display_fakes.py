"""Stand-ins for what displays are attached with: real sockets in a directory, mounts and owners only remembered."""

import asyncio
import contextlib
import gc
import os
import secrets
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from closed import until_open_are
from core_fakes import ALICE, FakeGuest
from isod.core import sessions
from isod.core.container import Container
from isod.core.events import Events
from isod.core.listeners import Listeners
from isod.core.reconcile import Reconciler
from isod.core.sessions import Sessions
from isod.core.shown import ShownDirectories
from isod.core.state_files import ListenerFiles
from isod.core.user_sockets import UserSockets
from isod.policy import ContainerPolicy
from isod.ports import Account, Directory
from isod_contract.errors import IsodError
from isod_contract.options import SessionInfo
from isod_contract.records import Record

ACCOUNT = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")
WAYLAND, X11 = "wayland-0", "X"


class FakeOffload:
    async def run(self, work: Any) -> Any:
        return work()


class Guest(FakeGuest):
    """A container whose files are what the directories below say."""

    def __init__(self, uid_shift: int = 0) -> None:
        super().__init__(uid_shift=uid_shift)
        self.offload = FakeOffload()
        self.machine, self.root_fd, self.pidfd = "blog", 3, 4


class FakeDirectories:
    """Real directories and sockets below a path; owners are only remembered. Also mounts: what covers a name inside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made = self.bound = True
        self.owners: dict[str, tuple[int, int]] = {}
        self.covers: dict[str, tuple[int, int]] = {}
        self.fault: IsodError | None = None
        self.seen_fault: IsodError | None = None

    def open_shown(self, _machine: str, _directory: str) -> int | None:
        return os.open(self.path, os.O_RDONLY) if self.made else None

    def is_seen(self, _directory_fd: int, _root_fd: int, _machine: str, _directory: str) -> bool:
        if self.seen_fault:
            raise self.seen_fault
        return self.bound

    def ensure_directory(self, _run_fd: int, directory: Directory) -> int:
        path = self.path / str(directory.uid)
        path.mkdir(exist_ok=True)
        self.owners[path.name] = directory.owner
        return os.open(path, os.O_RDONLY)

    def listen(self, directory_fd: int, name: str, directory: Directory) -> tuple[int, tuple[int, int]]:
        if self.fault:
            raise self.fault
        self.remove(directory_fd, name)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"/proc/self/fd/{directory_fd}/{name}")
        listener.listen()
        self.owners[f"{directory.uid}/{name}"] = directory.owner
        identity = self.identity(directory_fd, name, directory)
        assert identity
        return listener.detach(), identity

    def identity(self, directory_fd: int, name: str, directory: Directory) -> tuple[int, int] | None:
        try:
            status = os.stat(name, dir_fd=directory_fd)
        except OSError:
            return None
        right = stat.S_ISSOCK(status.st_mode) and self.owners.get(f"{directory.uid}/{name}") == directory.owner
        return (status.st_dev, status.st_ino) if right else None

    def ensure_place(self, directory_fd: int, name: str, _directory: Directory) -> None:
        self.remove(directory_fd, name)
        os.close(os.open(name, os.O_CREAT, dir_fd=directory_fd))

    def write(self, directory_fd: int, name: str, content: bytes, directory: Directory) -> None:
        self.remove(directory_fd, name)
        if content:
            fd = os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=directory_fd)
            os.write(fd, content)
            os.close(fd)
            self.owners[f"{directory.uid}/{name}"] = directory.owner

    def identity_inside(self, _root_fd: int, uid: int, name: str) -> tuple[int, int] | None:
        if cover := self.covers.get(f"{uid}/{name}"):
            return cover
        try:
            status = (self.path / str(uid) / name).lstat()
        except OSError:
            return None
        return (status.st_dev, status.st_ino) if self.bound else None

    def remove(self, directory_fd: int, name: str) -> None:
        try:
            os.unlink(name, dir_fd=directory_fd)
        except FileNotFoundError:
            return

    def remove_directory(self, run_fd: int, uid: int) -> None:
        try:
            os.rmdir(str(uid), dir_fd=run_fd)
        except OSError:
            return


class FakeMounter:
    def __init__(self, directories: FakeDirectories) -> None:
        self.directories = directories
        self.calls: list[str] = []
        self.fault: OSError | None = None

    def _call(self, call: str) -> None:
        self.calls.append(call)
        if self.fault:
            raise self.fault

    async def attach_directory(self, _machine: str, _pidfd: int, _uid_shift: int, directory: str) -> None:
        self._call("directory")
        assert directory == "run"
        self.directories.bound = True

    async def attach_socket(self, _pidfd: int, _shift: int, uid: int, name: str, source: tuple[str, int]) -> None:
        self._call(f"attach {uid}/{name} {source[0]}")
        status = os.fstat(source[1])
        self.directories.covers[f"{uid}/{name}"] = (status.st_dev, status.st_ino)

    async def detach_socket(self, _pidfd: int, uid: int, name: str) -> None:
        self._call(f"detach {uid}/{name}")
        del self.directories.covers[f"{uid}/{name}"]


class Store:
    """systemd's store, which lasts, and what one isod found in it."""

    def __init__(self, stored: dict[str, int] | None = None) -> None:
        self.stored = {} if stored is None else stored
        self.found = {name: os.dup(fd) for name, fd in self.stored.items()}

    def put(self, fd: int) -> str:
        name = secrets.token_urlsafe(3)
        self.stored[name] = os.dup(fd)
        return name

    def take(self, name: str) -> int | None:
        return self.found.pop(name, None)

    def drop(self, name: str) -> None:
        os.close(self.stored.pop(name))


class Units:
    def __init__(self, directories: FakeDirectories) -> None:
        self.started: list[str] = []
        self.directories = directories
        self.works = True

    async def start(self, unit: str) -> str:
        self.started.append(unit)
        self.directories.made = self.directories.made or self.works
        return "done"


class Activation:
    def __init__(self) -> None:
        self.withdrawn: list[int] = []

    def withdraw(self, _container: Any, _guest: Any, account: Account) -> None:
        self.withdrawn.append(account.uid)


class Display:
    """One isod's part for displays, over a container and a user's runtime directory."""

    def __init__(self, path: Path, *, store: Store | None = None, grants: dict[str, str] | None = None) -> None:
        (path / "run").mkdir(exist_ok=True)
        self.path = path
        self.directories = FakeDirectories(path / "run")
        self.mounter = FakeMounter(self.directories)
        self.units = Units(self.directories)
        self.activation: Any = Activation()
        self.store = store or Store()
        (path / "state").mkdir(exist_ok=True)
        self.listener_files = ListenerFiles(path / "state")
        self.records: list[tuple[str, Any]] = []
        self.changes = 0
        self.sessions = Sessions(self)
        events = Events()
        events.listen(self)
        self.policy = ContainerPolicy.model_validate({"users": ["alice"], "grants": grants or {}})
        self.container = Container("blog", "container@blog.service", "blog", self.policy)
        self.guest = Guest()
        self.container.guest = self.guest
        self.reconciler = Reconciler(
            sessions=self.sessions,
            activation=self.activation,
            directories=self.directories,
            shown=ShownDirectories(self.directories, self.mounter, self.units),  # type: ignore[arg-type]
            sockets=UserSockets(
                sessions=self.sessions,
                directories=self.directories,
                mounter=self.mounter,
                listeners=Listeners(self.directories, self.store, self.listener_files),
            ),
            audit=self,
            events=events,
        )

    def record(self, kind: Record, **fields: Any) -> None:
        if kind.name != "session":
            self.records.append((kind.name, fields["resource"]))

    def container_changed(self, _container: Any, changed: frozenset[str]) -> None:
        assert changed == {"Attachments"}
        self.changes += 1

    def register(self, wayland: str | None = "context", sock: str = "", **more: Any) -> None:
        values: dict[str, Any] = {"wayland": wayland, **more}
        if sock:
            values |= {"socket": os.open(self.path / sock, os.O_PATH), "socket_name": sock}
        self.sessions.register(ALICE, SessionInfo(**values))

    def compositor(self, name: str = "wayland-1") -> None:
        """Make a compositor's socket, a new one each time."""
        (self.path / name).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path / name))
        os.chown(self.path / name, ALICE.uid, ALICE.uid)

    def grant(self, **grants: str) -> None:
        self.container.policy = ContainerPolicy.model_validate({"users": ["alice"], "grants": grants})
        self.reconciler.policy_changed([self.container])

    async def launch(self) -> tuple[list[str], str]:
        attached, problem = await self.reconciler.for_launch(self.container, self.guest, ALICE, ACCOUNT)
        return sorted(attached), type(problem).__name__ if problem else ""

    async def opened(self) -> dict[str, tuple[int, int]]:
        """Give what isod-session gets, by the identity of the socket."""
        found = await self.reconciler.open(self.container, ALICE)
        result = {key: (os.fstat(fd).st_dev, os.fstat(fd).st_ino) for key, fd in found.items()}
        for fd in found.values():
            os.close(fd)
        return result

    @property
    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.path / "run")) for path in (self.path / "run").rglob("*/*"))

    @property
    def attachments(self) -> list[str]:
        return [item["resource"] for item in self.reconciler.attachments(self.container, ALICE)]

    def answers(self, name: str = WAYLAND) -> bool:
        """Whether a client inside could connect to what isod listens on."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.path / "run/1000" / name))
            except OSError:
                return False
        return True

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Log out, for good."""
        self.sessions.forget(ALICE.sender)
        for uid in list(self.sessions._timers):
            self.sessions._timers.pop(uid).cancel()
            self.sessions._gone(uid)
        await self.settle()


@contextlib.asynccontextmanager
async def running_display(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Display]:
    """Give an isod that runs for long; at the end, when everybody is gone, no descriptor of its may be left."""
    monkeypatch.setattr(sessions, "GRACE_SEC", 0.05)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    made = Display(path)
    made.sessions._began_sec = 0.0
    yield made
    made.container.guest = made.container.guest or made.guest
    await made.end()
    assert made.files == []
    assert made.attachments == []
    assert made.reconciler.sockets_held() == 0
    assert not made.store.stored
    gc.collect()
    until_open_are(before)


def restarted(display: Display, tmp_path: Path) -> Display:
    """Give the next isod, which has what the first put into the store."""
    for user in display.reconciler._users[display.container].values():
        for listener in user.listeners.values():
            os.close(listener.fd)
        user.listeners.clear()
        user.attached.clear()
    again = Display(tmp_path, store=Store(display.store.stored))
    again.directories.owners = display.directories.owners
    again.directories.covers = display.directories.covers
    again.sessions._began_sec = 0.0
    again.reconciler.recover()
    display.sessions.forget(ALICE.sender)
    return again


async def until_later(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)
