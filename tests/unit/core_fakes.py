"""Stand-ins for what the core sees of the outside, so that a launch can be looked at step by step."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from isod.core.app_start import AppStarter
from isod.core.apps import Apps
from isod.core.container import Container
from isod.core.environment_file import content
from isod.core.events import Events
from isod.core.launch import Launcher
from isod.core.recovery import Recovery
from isod.core.state_files import StateFiles
from isod.directory_ports import HostDirectory
from isod.policy import ContainerPolicy
from isod.policy_loader import Policy
from isod.ports import Account, Caller
from isod.settings import DaemonSettings
from isod_contract.errors import IsodError
from isod_contract.options import RunOptions
from isod_contract.records import Record
from isod_contract.states import AppState

ALICE = Caller(":1.2", 1000, "alice", pid=7, unit="app.scope")
CAROL = Caller(":1.3", 1003, "carol", pid=8, unit="app.scope")
INVOCATION = "ab" * 16
CLD_EXITED, CLD_KILLED, CLD_DUMPED = 1, 2, 3  # sigaction(2), si_code


class FakeGuest:
    """A container's systemd whose units are what the test says."""

    def __init__(self, invocation_id: str = INVOCATION, uid_shift: int = 0) -> None:
        self.invocation_id = invocation_id
        self.uid_shift = uid_shift
        self.uid_count = 65536 if uid_shift else 1 << 32
        self.accounts = {"alice": Account("alice", 1000, 1000, "/home/alice", "/bin/bash")}
        self.job_result: str | None = "done"
        self.started: list[tuple[str, dict[str, tuple[str, Any]], tuple[int, ...]]] = []
        self.calls: list[tuple[str, str]] = []
        self.units: dict[str, dict[str, Any]] = {}
        self.watchers: dict[str, Callable[[dict[str, Any]], None]] = {}
        self.fault: Exception | None = None
        self.closed = False
        self.zone = ""
        self.terminals = {"xterm", "xterm-256color", "screen", "vt100", "dumb"}
        self.left: dict[str, dict[int, str]] = {}
        self.ended_sessions: set[int] = set()

    async def locales(self) -> frozenset[str]:
        return frozenset()

    async def time_zone(self) -> str:
        return self.zone

    async def terminal_type(self, _account: Account, names: Iterable[str]) -> str:
        return next((name for name in names if name in self.terminals), "")

    async def account(self, name: str) -> Account | None:
        return self.accounts.get(name)

    async def watch_unit(self, unit: str, changed: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        self.watchers[unit] = changed
        return lambda: self.watchers.pop(unit, None) and None

    async def start_unit(
        self, unit: str, properties: Sequence[tuple[str, str, Any]], fds: Sequence[int] = ()
    ) -> asyncio.Future[str] | None:
        if self.fault:
            raise self.fault
        kinds = tuple(os.fstat(fd).st_ino for fd in fds)
        self.started.append((unit, {name: (signature, value) for name, signature, value in properties}, kinds))
        self.units.setdefault(unit, {"LoadState": "loaded", "ActiveState": "active", "SubState": "running"})
        if self.job_result is None:
            return None
        job: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        job.set_result(self.job_result)
        return job

    async def unit_properties(self, unit: str, _interface: str) -> dict[str, Any]:
        absent = {"LoadState": "not-found", "ExecMainCode": 0, "ExecMainStatus": 0}
        return dict(self.units.get(unit, absent))

    async def stop_unit(self, unit: str) -> None:
        self.calls.append(("stop", unit))

    async def kill_unit(self, unit: str, number: int) -> None:
        self.calls.append((f"kill {number}", unit))

    async def processes(self, unit: str) -> dict[int, str]:
        return self.left.pop(unit, {})

    async def reset_failed(self, unit: str) -> None:
        self.calls.append(("reset", unit))

    def tell(self, unit: str, **properties: Any) -> None:
        """Change a unit and say so, as systemd does."""
        self.units.setdefault(unit, {"LoadState": "loaded"}).update(properties)
        if unit in self.watchers:
            self.watchers[unit](properties)


class FakeContainers:
    """One container."""

    def __init__(self, policy: ContainerPolicy, settings: DaemonSettings) -> None:
        self.policy = Policy({"blog": policy}, settings)
        self.container = Container("blog", "container@blog.service", "blog", policy)
        self.guest = FakeGuest()
        self.refused: IsodError | None = None
        self.fault: Exception | None = None
        self.asked: list[tuple[int, str | None]] = []
        self.boots = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.guest_ready: Callable[[Container], None] = lambda _: None
        self.guest_lost: Callable[[Container], None] = lambda _: None
        self.others_running: Any = None

    def all(self) -> list[Container]:
        return [self.container]

    async def authorise(self, _container: Any, caller: Caller, _verb: Any, **facts: Any) -> str:
        self.asked.append((caller.uid, facts["account"]))
        await self.hold.wait()
        if self.refused:
            raise self.refused
        return "users"

    async def ensure_running(self, container: Container, _caller: Caller) -> FakeGuest:
        self.boots += 1
        if self.fault:
            raise self.fault
        container.guest, container.invocation_id = self.guest, self.guest.invocation_id
        return self.guest


class FakeStore:
    """An FD store that gives names in turn."""

    def __init__(self) -> None:
        self.stored: dict[str, int] = {}
        self.names = (f"n{number:03}" for number in itertools.count())

    def put(self, fd: int) -> str:
        name = next(self.names)
        self.stored[name] = os.dup(fd)
        return name

    def take(self, name: str) -> int | None:
        return self.stored.pop(name, None)

    def drop(self, name: str) -> None:
        if (fd := self.stored.pop(name, None)) is not None:
            os.close(fd)


class FakeEnvironments:
    """Files of variables, as text that goes no further."""

    def __init__(self) -> None:
        self.written: dict[str, dict[str, str]] = {}
        self.there: set[str] = set()

    @contextlib.asynccontextmanager
    async def property_for(
        self, _container: Any, _guest: Any, name: str, variables: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, str, Any]]:
        content(variables)
        self.written[name] = dict(variables)
        self.there.add(name)
        try:
            yield "EnvironmentFiles", "a(sb)", [[f"/run/isoctl/launch/{name}", False]]
        finally:
            self.there.discard(name)


class FakeDirectories:
    """Directories of the host, of which the container has those in `inside`."""

    def __init__(self) -> None:
        self.inside: dict[str, str] = {}

    def locate(self, fd: int, pid: int) -> HostDirectory:
        path = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        return HostDirectory(path, 1, pid)

    async def path_inside(self, _guest: Any, directory: HostDirectory) -> str:
        return self.inside.get(directory.path, "")

    async def missing(self, _guest: Any, _account_uid: int, paths: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(name for name, path in paths.items() if path not in self.inside.values())


class Nothing:
    """Parts of a launch that have nothing to do here."""

    async def run(self, _guest: Any, _account: Account, _container: str) -> None:
        """Prepare."""

    def environment(self, _uid: int) -> dict[str, str]:
        return {}

    def show(self, *_: Any) -> None:
        """Show no display."""

    async def for_launch(self, *_: Any) -> tuple[Mapping[str, Any], None]:
        return {}, None

    async def arrive(self, *_: Any) -> None:
        """Have no device."""


class Core:
    """The core of one isod, as it is until it is restarted."""

    def __init__(
        self,
        state: Path,
        *,
        policy: ContainerPolicy | None = None,
        settings: DaemonSettings | None = None,
        store: FakeStore | None = None,
        guest: FakeGuest | None = None,
    ) -> None:
        self.containers = FakeContainers(policy or ContainerPolicy(users=("alice",)), settings or DaemonSettings())
        self.containers.guest = guest or self.containers.guest
        self.store = store or FakeStore()
        self.records: list[dict[str, Any]] = []
        files = StateFiles(state)
        parts: Any = {"containers": self.containers, "store": self.store}
        self.apps = Apps(files=files, audit=self, events=Events(), **parts)
        self.recovery = Recovery(apps=self.apps, files=files, **parts)
        nothing: Any = Nothing()
        self.environments: Any = FakeEnvironments()
        self.directories = FakeDirectories()
        self.launcher = Launcher(
            apps=self.apps,
            prepare=nothing,
            reconciler=nothing,
            devices=nothing,
            activation=nothing,
            starter=AppStarter(
                apps=self.apps,
                terminals=nothing,
                sessions=nothing,
                store=parts["store"],
                environments=self.environments,
                directories=self.directories,
            ),
            sessions=nothing,
            containers=parts["containers"],
        )

    @property
    def container(self) -> Container:
        return self.containers.container

    @property
    def guest(self) -> FakeGuest:
        return self.containers.guest

    def record(self, kind: Record, **fields: Any) -> None:
        self.records.append({"kind": kind.name, **fields})

    def launch(self, *argv: str, caller: Caller = ALICE, **options: Any) -> Any:
        return self.launcher.launch(caller, self.container, argv or ("true",), RunOptions(**options))

    def kinds(self) -> list[str]:
        return [record["kind"] for record in self.records]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def running(core: Core, *argv: str, **options: Any) -> Any:
    app = core.launch(*argv, **options)
    await until(lambda: app.record.state is AppState.RUNNING)
    return app
