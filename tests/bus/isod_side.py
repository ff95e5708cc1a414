"""isod's side of a private bus for tests of the gate: the real one, over stand-ins for core, systemd and polkit."""

import asyncio
import contextlib
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from buses import Bus
from isod.authorise import Verb
from isod.bus.caller import Callers
from isod.bus.endpoint import Endpoint
from isod.bus.prompts import Prompts
from isod.bus.services import Services
from isod.host.polkit import Polkit
from isod.host.systemd import SystemdUnits
from isod.paced_audit import PacedAudit
from isod.ports import Caller
from isod.settings import Limits
from isod_contract import names
from isod_contract.errors import NoSuchApplication, NoSuchContainer
from isod_contract.findings import Finding
from isod_contract.options import CheckOptions, ExplainOptions, HistoryFilter, LogOptions, RunOptions, SessionInfo
from isod_contract.records import DECISION, Record
from isod_wire import SYSTEM_BUS_CAPS, Connection, Message, RemoteError, Variant, connect

# Any two ordinary accounts: dbus-daemon takes no connection of a uid that has none.
ALICE, BOB = sorted(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid)[:2]
ALICES_APP, BOBS_APP = "a" * 32, "b" * 32
ROOT, POLKIT, DEADLINE_SEC = 0, "org.freedesktop.PolicyKit1", 10.0


class ListAudit:
    """Keeps what was recorded."""

    def __init__(self) -> None:
        self.records: list[dict[str, object]] = []

    def record(self, kind: Record, **fields: object) -> None:
        self.records.append({"kind": kind.name, **fields})

    def decisions(self, **wanted: object) -> list[dict[str, object]]:
        found = [record for record in self.records if record["kind"] == DECISION.name]
        return [record for record in found if wanted.items() <= record.items()]


@dataclass(eq=False)
class FakeContainer:
    name: str
    uids: frozenset[int]
    state: str = "running"
    problem: tuple[str, str] = ("", "")
    is_outdated: bool = False
    hints: Callable[[], tuple[str, ...]] = tuple

    @property
    def unit(self) -> str:
        return f"container@{self.name}.service"

    def account_for(self, caller: Caller) -> str:
        return f"account-{caller.uid}"

    def problem_for(self, _caller: Caller) -> tuple[str, str]:
        return self.problem

    def menu(self) -> tuple[str, ...]:
        return ()

    def grants(self) -> Mapping[str, str]:
        return {"wayland": "secured"}


@dataclass(eq=False)
class FakeApp:
    id: str
    owner_uid: int
    container: str = "shared"
    state: str = "running"
    exit_code: int = -1
    exit_signal: int = 0
    problem: tuple[str, str] = ("", "")
    unit: str = "isoctl-app.service"
    user: str = "alice"
    argv: Sequence[str] = ("true",)
    started_usec: int = 1
    running: bool = True
    grants: Mapping[str, str] = field(default_factory=dict)
    detached: bool = False


class FakeContainers:
    """Two containers: alice's, and one that she shares with bob."""

    def __init__(self) -> None:
        self.all = [FakeContainer("blog", frozenset({ALICE})), FakeContainer("shared", frozenset({ALICE, BOB}))]
        self.calls: list[tuple[str, str, int]] = []
        self.fault: Exception | None = None
        self.opens: Callable[[Any, Caller], Awaitable[Mapping[str, int]]] | None = None
        self.hold = asyncio.Event()
        self.hold.set()

    def visible(self, caller: Caller) -> list[FakeContainer]:
        return [item for item in self.all if caller.is_root or caller.uid in item.uids]

    def find(self, untrusted_name: str, caller: Caller) -> FakeContainer:
        if found := [item for item in self.visible(caller) if item.name == untrusted_name]:
            return found[0]
        raise NoSuchContainer(container=untrusted_name)

    async def _do(self, what: str, container: FakeContainer, caller: Caller) -> None:
        self.calls.append((what, container.name, caller.uid))
        await self.hold.wait()
        if self.fault:
            raise self.fault

    async def start(self, container: Any, caller: Caller) -> None:
        await self._do("start", container, caller)

    async def stop(self, container: Any, caller: Caller, *, force: bool) -> None:
        await self._do("stop --force" if force else "stop", container, caller)

    async def restart(self, container: Any, caller: Caller, *, force: bool) -> None:
        await self._do("restart --force" if force else "restart", container, caller)

    async def grant(self, container: Any, caller: Caller, asked: Mapping[str, str]) -> None:
        await self._do(f"grant {dict(asked)}", container, caller)

    async def revoke(self, container: Any, caller: Caller, keys: Sequence[str]) -> None:
        await self._do(f"revoke {list(keys)}", container, caller)

    async def open_log(self, container: Any, caller: Caller, _options: LogOptions) -> int:
        await self._do("open_log", container, caller)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.write(writer, b"a line\n")
        os.close(writer)
        return reader

    def attachments(self, *_: Any) -> Any:
        return []

    render_nodes = start_x_server = stop_x_server = attachments

    async def open_display(self, container: Any, caller: Caller) -> Mapping[str, int]:
        return await self.opens(container, caller) if self.opens else {}

    async def usage(self, container: Any, caller: Caller) -> list[Mapping[str, object]]:
        await self._do("usage", container, caller)
        return []


class FakeChecks:
    """Finds one thing, wherever it looks."""

    async def host(self, caller: Caller, _options: CheckOptions) -> list[Finding]:
        return [Finding("host-thing", f"seen by {caller.uid}", "it matters", "`mend it`")]

    async def container(self, container: Any, caller: Caller, _options: CheckOptions) -> list[Finding]:
        return [Finding("thing", f"{container.name} seen by {caller.uid}", "it matters", "`mend it`")]


class FakeApps:
    """One app of each."""

    def __init__(self) -> None:
        self.all = [FakeApp(ALICES_APP, ALICE), FakeApp(BOBS_APP, BOB)]
        self.calls: list[tuple[str, str]] = []

    def visible(self, caller: Caller) -> list[FakeApp]:
        return [app for app in self.all if caller.is_root or app.owner_uid == caller.uid]

    def find(self, untrusted_id: str, caller: Caller) -> FakeApp:
        if found := [app for app in self.visible(caller) if app.id == untrusted_id]:
            return found[0]
        raise NoSuchApplication(app=untrusted_id)

    async def signal(self, app: Any, signum: int) -> None:
        self.calls.append((f"signal {signum}", app.id))

    async def stop(self, app: Any) -> None:
        self.calls.append(("stop", app.id))

    def open_terminal(self, _app: Any) -> int:
        return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    async def open_log(self, _app: Any, _options: LogOptions) -> int:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


class FakeLauncher:
    """Takes launches, and closes their descriptors as the real one does."""

    def __init__(self) -> None:
        self.launches: list[tuple[int, str, tuple[str, ...], RunOptions]] = []
        self.fault: Exception | None = None

    def launch(self, caller: Caller, container: Any, argv: tuple[str, ...], options: RunOptions) -> FakeApp:
        for fd in {options.stdin, options.stdout, options.stderr, options.lifetime} - {None}:
            os.close(fd)  # type: ignore[arg-type]
        if self.fault:
            raise self.fault
        self.launches.append((caller.uid, container.name, argv, options))
        return FakeApp("c" * 32, caller.uid)


class FakeSessions:
    def __init__(self) -> None:
        self.registered: list[tuple[int, SessionInfo]] = []
        self.gone: list[str] = []

    def register(self, caller: Caller, session: SessionInfo) -> None:
        if session.socket is not None:
            os.close(session.socket)
        self.registered.append((caller.uid, session))

    def forget(self, sender: str) -> None:
        self.gone.append(sender)


class FakeSystemd:
    """Says which unit a process is in."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.unit, self.slice = "session-1.scope", "user-1000.slice"
        self.answers = True
        connection.on_call(self._on_call)

    def _on_call(self, call: Message) -> None:
        with call:
            if call.member == "GetUnitByPIDFD" and self.answers:
                self.connection.reply(call, "osay", ["/unit", self.unit, bytes(16)])
            elif call.member == "Get" and call.body[1] == "Slice":
                self.connection.reply(call, "v", [Variant("s", self.slice)])
            else:
                self.connection.reply_error(call, "org.freedesktop.systemd1.NoUnitForPID", "no unit")


YES, NO, CHALLENGE = [True, False, {}], [False, False, {}], [False, True, {}]
DISMISSED = [False, False, {"polkit.dismissed": "true"}]


class FakePolkit:
    """Answers as told; an answer of None leaves the prompt open."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.at_once: list[Any] | None = CHALLENGE
        self.prompted: list[Any] | None = None
        self.subjects: list[str] = []
        self.asked: set[tuple[str, str]] = set()
        self.open: dict[str, Message] = {}
        self.cancelled: list[str] = []
        connection.on_call(self._on_call)

    def _on_call(self, call: Message) -> None:
        if call.member == "CancelCheckAuthorization":
            self.cancelled.append(call.body[0])
            call.close()
            return
        subject, action, _details, flags, cancellation = call.body
        self.asked.add((subject[0], action))
        self.subjects.append(subject[1]["name"].value)
        answer = self.prompted if flags & 1 else self.at_once
        if answer is None:
            self.open[cancellation] = call
            return
        self.answer(call, answer)

    def answer(self, call: Message, answer: list[Any]) -> None:
        self.connection.reply(call, "(bba{ss})", [answer])
        call.close()


@dataclass(eq=False)
class IsodSide:
    """Everything that a test looks at."""

    bus: Bus
    connection: Connection
    endpoint: Endpoint
    prompts: Prompts
    systemd: FakeSystemd
    audit: ListAudit
    containers: FakeContainers
    apps: FakeApps
    launcher: FakeLauncher
    sessions: Any
    stack: contextlib.AsyncExitStack
    polkit: FakePolkit | None = None
    reloads: list[int] = field(default_factory=list)
    shares: dict[int, int] = field(default_factory=dict)
    limits: Limits = field(default_factory=lambda: Limits(subscriptions=2))

    async def client(self, uid: int) -> Connection:
        connection = await connect(self.bus.socket_as(uid), caps=SYSTEM_BUS_CAPS, external_uid=uid)
        self.stack.push_async_callback(connection.close)
        return connection

    async def start_polkit(self) -> FakePolkit:
        connection = await connect(self.bus.address, caps=SYSTEM_BUS_CAPS)
        self.stack.push_async_callback(connection.close)
        self.polkit = FakePolkit(connection)
        await connection.request_name(POLKIT)
        return self.polkit


@contextlib.asynccontextmanager
async def running_isod_side(bus: Bus, sessions: Any = None) -> AsyncIterator[IsodSide]:
    """Give it; `sessions` are real ones instead of a stand-in."""
    async with contextlib.AsyncExitStack() as stack:

        async def connected() -> Connection:
            connection = await connect(bus.address, caps=SYSTEM_BUS_CAPS)
            stack.push_async_callback(connection.close)
            return connection

        systemd = FakeSystemd(await connected())
        await systemd.connection.request_name("org.freedesktop.systemd1")
        connection = await connected()
        units = SystemdUnits(connection)
        audit, containers, apps = ListAudit(), FakeContainers(), FakeApps()
        launcher, sessions = FakeLauncher(), sessions or FakeSessions()
        callers = Callers(connection=connection, units=units)
        prompts = Prompts(callers=callers, authority=Polkit(connection), per_uid_max=lambda _uid: 2)
        reloads: list[int] = []

        async def explain(
            _container: Any, action: str, _caller: Caller, _options: ExplainOptions
        ) -> Mapping[str, object]:
            return {"outcome": "allowed", "rule": f"rule of {Verb(action)}"}

        async def reload(caller: Caller, _dry_run: bool) -> Sequence[Mapping[str, object]]:
            reloads.append(caller.uid)
            return []

        async def read_history(caller: Caller, _wanted: HistoryFilter) -> Sequence[Mapping[str, object]]:
            return [{"uid": caller.uid, "kind": "launch"}]

        endpoint = Endpoint(
            connection=connection,
            services=Services(
                containers=containers,
                apps=apps,
                launcher=launcher,
                sessions=sessions,
                checks=FakeChecks(),
                explain=explain,
                reload=reload,
                read_history=read_history,
            ),
            callers=callers,
            prompts=prompts,
            audit=audit,
            paced=PacedAudit(audit, accountable=lambda uid: side.shares.get(uid, uid)),
            limits=lambda uid: side.limits.of(uid),  # noqa: PLW0108 - a test may replace them
            accountable=lambda uid: side.shares.get(uid, uid),
        )
        await endpoint.open()
        stack.push_async_callback(endpoint.close)
        await connection.request_name(names.BUS_NAME)
        side = IsodSide(
            bus, connection, endpoint, prompts, systemd, audit, containers, apps, launcher, sessions, stack,
            reloads=reloads,
        )  # fmt: skip
        yield side


async def call(
    client: Connection,
    member: str,
    signature: str = "",
    body: Sequence[Any] = (),
    *,
    path: str = names.ROOT_PATH,
    interface: str = names.MANAGER,
    **options: Any,
) -> list[Any]:
    """Call isod; gives the values of the reply."""
    reply = await client.call(
        names.BUS_NAME, path, interface, member, signature, body, timeout_sec=DEADLINE_SEC, **options
    )
    with reply:
        return reply.body


async def refused(client: Connection, member: str, *arguments: Any, **options: Any) -> tuple[str, str]:
    """Call isod, which must refuse; gives the error's name, short, and text."""
    try:
        await call(client, member, *arguments, **options)
    except RemoteError as error:
        return error.name.rsplit(".", 1)[1], error.text
    raise AssertionError(f"{member} was not refused")


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE_SEC):
        while not condition():
            await asyncio.sleep(0.005)
