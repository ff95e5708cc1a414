"""isod-session between a session bus and a system bus of the test's own, with a stand-in for isod."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from buses import Bus, dbus_daemon
from isod_contract import names
from isod_wire import SESSION_CAPS, SYSTEM_BUS_CAPS, Connection, MatchRule, Message, RemoteError, Variant, connect

REPOSITORY = Path(__file__).resolve().parents[2]
SYSTEMD = "org.freedesktop.systemd1"
APP_PATH = names.app_path("0" * 32)
DEADLINE_SEC = 10.0


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE_SEC):
        while not condition():
            await asyncio.sleep(0.01)


class FakeIsod:
    """Owns isod's name on the system bus, records calls and answers as told."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.calls: list[Message] = []
        self.fds: list[int] = []
        self.answers: dict[str, Callable[[Message], None]] = {}
        connection.on_call(self._on_call)

    @property
    def sessions(self) -> list[dict[str, Variant]]:
        return [call.body[0] for call in self.calls if call.member == "RegisterSession"]

    def named(self, member: str) -> list[Message]:
        return [call for call in self.calls if call.member == member]

    def _on_call(self, call: Message) -> None:
        self.fds += [call.fds.copy(index) for index in range(len(call.fds))]
        _ = call.body
        self.calls.append(call)
        answer = self.answers.get(call.member or "")
        if answer:
            answer(call)
        else:
            self.connection.reply(call)
        call.close()

    async def leave(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()
        await self.connection.close()


class Desktop:
    """Two buses, the service between them, and a client on the session bus."""

    def __init__(self, stack: contextlib.AsyncExitStack, session: Bus, system_path: Path, runtime: Path) -> None:
        self.stack, self.session, self.system_path, self.runtime = stack, session, system_path, runtime
        self.system: Bus | None = None
        self.process: asyncio.subprocess.Process | None = None
        self.output = b""

    @property
    def flag(self) -> Path:
        return self.runtime / "isoctl/session-registered"

    async def start_system_bus(self) -> contextlib.ExitStack:
        """Start the system bus where the service looks for it; closing what this returns ends it."""
        running = contextlib.ExitStack()
        self.system = running.enter_context(dbus_daemon())
        self.system_path.unlink(missing_ok=True)
        self.system_path.symlink_to(self.system.path)
        self.stack.callback(running.close)
        return running

    async def start_isod(self) -> FakeIsod:
        assert self.system is not None
        connection = await connect(self.system.address, caps=SYSTEM_BUS_CAPS)
        isod = FakeIsod(connection)
        await connection.request_name(names.BUS_NAME)
        self.stack.push_async_callback(isod.leave)
        return isod

    async def start_service(self, **environment: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "isod_session",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(REPOSITORY / "daemon"),
                "XDG_RUNTIME_DIR": str(self.runtime),
                "DBUS_SESSION_BUS_ADDRESS": self.session.address,
                "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.system_path}",
                **environment,
            },
            stderr=asyncio.subprocess.PIPE,
        )
        self.stack.push_async_callback(self.stop_service)

    async def stop_service(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        _, stderr = await asyncio.wait_for(self.process.communicate(), DEADLINE_SEC)
        self.output += stderr
        assert self.process.returncode is not None
        return self.process.returncode

    async def client(self) -> Connection:
        connection = await connect(self.session.address, caps=SESSION_CAPS)
        self.stack.push_async_callback(connection.close)
        async with asyncio.timeout(DEADLINE_SEC):
            while await connection.name_owner(names.BUS_NAME) is None:
                await asyncio.sleep(0.01)
        return connection


@pytest_asyncio.fixture
async def desktop(tmp_path: Path) -> AsyncIterator[Desktop]:
    async with contextlib.AsyncExitStack() as stack:
        session = stack.enter_context(dbus_daemon())
        runtime = tmp_path / "runtime"
        runtime.mkdir()
        made = Desktop(stack, session, tmp_path / "system_bus", runtime)
        yield made
    assert b"Traceback" not in made.output, made.output.decode()


async def call(client: Connection, member: str, signature: str = "", body: Any = (), **options: Any) -> Message:
    path = options.pop("path", names.ROOT_PATH)
    interface = options.pop("interface", names.MANAGER)
    return await client.call(
        names.BUS_NAME, path, interface, member, signature, body, timeout_sec=DEADLINE_SEC, **options
    )


async def started(desktop: Desktop, **environment: str) -> tuple[FakeIsod, Connection]:
    """Start all of it; returns isod and a client once the session is registered."""
    await desktop.start_system_bus()
    isod = await desktop.start_isod()
    await desktop.start_service(**environment)
    client = await desktop.client()
    await until(desktop.flag.exists)
    return isod, client


async def test_calls_go_to_isod_as_they_are(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    values = [Variant("a{sv}", {"x": Variant("(iasd)", [1, ["a", ""], 0.5])}), "é\n", ["a", "--", ""]]
    isod.answers["GetAll"] = lambda asked: isod.connection.reply(asked, "a{sv}s", [{"X": values[0]}, "ü"])
    path = names.container_path("Blog-1")
    with await call(client, "GetAll", "vsas", values, path=path, interface=names.PROPERTIES) as reply:
        assert (reply.signature, reply.body) == ("a{sv}s", [{"X": values[0]}, "ü"])
    (received,) = isod.named("GetAll")
    assert (received.path, received.interface, received.signature) == (path, names.PROPERTIES, "vsas")
    assert received.body == values
    assert not received.allow_interactive


async def test_the_leave_to_ask_is_passed_on(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    (await call(client, "Reload", "a{sv}", [{}], allow_interactive=True)).close()
    assert isod.named("Reload")[0].allow_interactive


async def test_descriptors_pass_both_ways_and_none_stays(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    assert desktop.process is not None
    fd_directory = Path(f"/proc/{desktop.process.pid}/fd")
    ours, theirs = os.pipe()
    isod.answers["OpenLog"] = lambda asked: isod.connection.reply(asked, "h", [0], [theirs])
    isod.answers["Broken"] = lambda asked: isod.connection.reply_error(asked, "a.b", "c")

    async def once() -> None:
        with await call(client, "OpenLog", "a{sv}", [{}], path=APP_PATH, interface=names.APP) as reply:
            received = reply.take_fd(reply.body[0])
            os.write(received, b"x")
            os.close(received)
        assert os.read(ours, 2) == b"x"
        options = {"stdin": Variant("h", 1), "stdout": Variant("h", 0)}
        (await call(client, "Run", "sasa{sv}", ["blog", ["true"], options], fds=[theirs, ours])).close()
        run = isod.named("Run")[-1]
        assert (run.body[2]["stdin"], run.body[2]["stdout"]) == (Variant("h", 1), Variant("h", 0))
        for given, arrived in zip((theirs, ours), isod.fds[-2:], strict=True):
            assert os.path.sameopenfile(given, arrived)
        with pytest.raises(RemoteError):
            await call(client, "Broken", "h", [0], fds=[ours])

    await once()
    before = len(os.listdir(fd_directory))
    for _ in range(5):
        await once()
    await until(lambda: len(os.listdir(fd_directory)) <= before)
    os.close(ours)
    os.close(theirs)


async def test_errors_come_back_word_for_word(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    isod.answers["GetContainer"] = lambda asked: isod.connection.reply_error(
        asked, names.BUS_NAME + ".Error.NoSuchContainer", "no container 'x'"
    )
    with pytest.raises(RemoteError) as caught:
        await call(client, "GetContainer", "s", ["x"])
    assert (caught.value.name, caught.value.text) == (names.BUS_NAME + ".Error.NoSuchContainer", "no container 'x'")


@pytest.mark.parametrize(
    ("member", "interface", "signature", "body"),
    [
        ("Run", names.MANAGER, "sasa{sv}", ["blog", ["true"], {}]),
        ("Start", names.CONTAINER, "a{sv}", [{}]),
        ("Stop", names.CONTAINER, "a{sv}", [{"force": Variant("b", True)}]),
    ],
)
async def test_who_asked_is_claimed_by_us_not_by_him(
    desktop: Desktop, member: str, interface: str, signature: str, body: list[Any]
) -> None:
    isod, client = await started(desktop)
    forged = Variant("a{sv}", {"pid": Variant("u", 1), "unit": Variant("s", "init.scope")})
    for options in (body[-1], {**body[-1], "via": forged}):
        (await call(client, member, signature, [*body[:-1], options], interface=interface)).close()
        received = isod.named(member)[-1].body[-1]
        assert received["via"].value["pid"] == Variant("u", os.getpid())
        assert received["via"].value["unit"].signature == "s"
        assert {key: value for key, value in received.items() if key != "via"} == body[-1]


async def test_other_calls_get_no_claim(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    (await call(client, "Reload", "a{sv}", [{}])).close()
    (await call(client, "History", "a{sv}", [{}])).close()
    assert isod.named("Reload")[0].body == isod.named("History")[0].body == [{}]


async def test_a_malformed_run_is_isods_to_refuse(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    (await call(client, "Run", "i", [3])).close()
    assert isod.named("Run")[0].body == [3]


async def test_calls_of_one_caller_keep_their_order(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    calls = [call(client, "GetApp", "s", [str(number)]) for number in range(50)]
    for reply in await asyncio.gather(*calls):
        reply.close()
    assert [received.body[0] for received in isod.named("GetApp")] == [str(number) for number in range(50)]


async def test_the_session_is_not_for_callers_of_the_session_bus_to_register(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    before = len(isod.sessions)
    with pytest.raises(RemoteError, match=r"Unsupported: .*system bus only"):
        await call(client, "RegisterSession", "a{sv}", [{}])
    assert len(isod.sessions) == before


async def test_one_caller_cannot_end_the_signals_of_all(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    for member in ("Subscribe", "Unsubscribe", "Subscribe"):
        (await call(client, member)).close()
    assert len(isod.named("Subscribe")) == 1
    assert isod.named("Unsubscribe") == []


async def test_signals_of_isod_reach_every_listener(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    listener = await desktop.client()
    heard: list[list[Message]] = [[], []]
    for connection, messages in zip((client, listener), heard, strict=True):
        await connection.add_match(MatchRule(sender=names.BUS_NAME), messages.append)
    destination = isod.named("Subscribe")[0].sender
    properties = {"State": Variant("s", "running")}
    isod.connection.emit(names.ROOT_PATH, names.MANAGER, "AppAdded", "o", [APP_PATH], destination=destination)
    change = [names.APP, properties, []]
    isod.connection.emit(APP_PATH, names.PROPERTIES, "PropertiesChanged", "sa{sv}as", change, destination=destination)
    isod.connection.emit(APP_PATH, names.APP, "Exited", "ii", [7, 0], destination=destination)
    await until(lambda: [len(messages) for messages in heard] == [3, 3])
    for messages in heard:
        assert [(message.member, message.body) for message in messages] == [
            ("AppAdded", [APP_PATH]),
            ("PropertiesChanged", [names.APP, properties, []]),
            ("Exited", [7, 0]),
        ]


async def test_signals_of_others_do_not(desktop: Desktop) -> None:
    """Any user of the host can send a signal to a unique name of the system bus."""
    isod, client = await started(desktop)
    assert desktop.system is not None
    heard: list[Message] = []
    await client.add_match(MatchRule(sender=names.BUS_NAME), heard.append)
    destination = isod.named("Subscribe")[0].sender
    mallory = await connect(desktop.system.address, caps=SYSTEM_BUS_CAPS)
    mallory.emit(APP_PATH, names.APP, "Exited", "ii", [0, 0], destination=destination)
    await mallory.close()
    isod.connection.emit(APP_PATH, names.APP, "Exited", "ii", [7, 0], destination=destination)
    await until(lambda: heard)
    assert [signal.body for signal in heard] == [[7, 0]]


async def test_the_session_is_registered_with_its_own_variables_only(desktop: Desktop) -> None:
    isod, _ = await started(
        desktop,
        WAYLAND_DISPLAY="wayland-1",
        LANG="de_DE.UTF-8",
        SECRET="x",
        TERM="xterm",
        DISPLAY=":0\nX=1",
        TZ="a" * 2000,
    )
    (session,) = isod.sessions
    assert session["environment"] == Variant("as", ["LANG=de_DE.UTF-8", "WAYLAND_DISPLAY=wayland-1"])
    assert len(isod.named("Subscribe")) == 1


class FakeSystemd:
    """The user manager, with an environment block that changes."""

    def __init__(self, connection: Connection, block: list[str]) -> None:
        self.connection, self.block = connection, block
        connection.on_call(self._on_call)

    def _on_call(self, asked: Message) -> None:
        with asked:
            if asked.member == "Get":
                self.connection.reply(asked, "v", [Variant("as", self.block)])
            else:
                self.connection.reply(asked)


async def fake_systemd(desktop: Desktop, block: list[str]) -> FakeSystemd:
    connection = await connect(desktop.session.address, caps=SESSION_CAPS)
    manager = FakeSystemd(connection, block)
    await connection.request_name(SYSTEMD)
    desktop.stack.push_async_callback(connection.close)
    return manager


async def test_a_compositor_that_came_later_is_known_at_the_next_launch(desktop: Desktop) -> None:
    manager = await fake_systemd(desktop, ["LANG=C.UTF-8", "XDG_SESSION_ID=4"])
    isod, client = await started(desktop, LANG="old")
    assert isod.sessions == [
        {"environment": Variant("as", ["LANG=C.UTF-8", "XDG_SESSION_ID=4"]), "session": Variant("s", "4")}
    ]
    manager.block.append("WAYLAND_DISPLAY=wayland-0")
    (await call(client, "Run", "sasa{sv}", ["blog", ["true"], {}])).close()
    assert "WAYLAND_DISPLAY=wayland-0" in isod.sessions[-1]["environment"].value
    assert [received.member for received in isod.calls][-3:] == ["RegisterSession", "Subscribe", "Run"]
    (await call(client, "Run", "sasa{sv}", ["blog", ["true"], {}])).close()
    assert len(isod.sessions) == 2


async def test_the_start_of_a_graphical_session_is_enough(desktop: Desktop) -> None:
    manager = await fake_systemd(desktop, [])
    isod, _ = await started(desktop)
    manager.block.append("WAYLAND_DISPLAY=wayland-0")
    path = "/org/freedesktop/systemd1/unit/graphical_2dsession_2etarget"
    manager.connection.emit(path, names.PROPERTIES, "PropertiesChanged", "sa{sv}as", [SYSTEMD + ".Unit", {}, []])
    await until(lambda: len(isod.sessions) == 2)


async def test_a_new_isod_is_told_again(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    await isod.leave()
    await until(lambda: not desktop.flag.exists())
    with pytest.raises(RemoteError, match=r"ServiceUnknown: isod does not run .* systemctl start isod"):
        await call(client, "ListContainers")
    again = await desktop.start_isod()
    await until(desktop.flag.exists)
    assert [received.member for received in again.calls] == ["RegisterSession", "Subscribe"]
    (await call(client, "ListContainers")).close()


async def test_it_serves_before_there_is_a_system_bus_and_after(desktop: Desktop) -> None:
    await desktop.start_service()
    client = await desktop.client()
    asked = asyncio.create_task(call(client, "ListContainers"))
    await asyncio.sleep(0.2)
    assert not asked.done()
    running = await desktop.start_system_bus()
    isod = await desktop.start_isod()
    await until(desktop.flag.exists)
    with contextlib.suppress(RemoteError):
        (await asked).close()
    running.close()
    await until(lambda: not desktop.flag.exists())
    with pytest.raises(RemoteError, match=r"ServiceUnknown: .*system bus"):
        await call(client, "ListContainers")
    await desktop.start_system_bus()
    isod = await desktop.start_isod()
    await until(desktop.flag.exists)
    assert len(isod.sessions) == 1
    (await call(client, "ListContainers")).close()


async def test_it_leaves_with_the_session(desktop: Desktop) -> None:
    await started(desktop)
    os.kill(desktop.session.pid, signal.SIGTERM)
    assert desktop.process is not None
    assert await asyncio.wait_for(desktop.process.wait(), DEADLINE_SEC) == 0
    assert not desktop.flag.exists()


async def test_it_leaves_when_told_to(desktop: Desktop) -> None:
    isod, client = await started(desktop)
    isod.answers["ListContainers"] = lambda _: None
    asked = asyncio.create_task(call(client, "ListContainers"))
    await until(lambda: isod.named("ListContainers"))
    assert await desktop.stop_service() == 0
    assert not desktop.flag.exists()
    with pytest.raises(RemoteError):
        await asked


async def test_a_second_one_does_not_take_its_place(desktop: Desktop) -> None:
    _, client = await started(desktop)
    owner = await client.name_owner(names.BUS_NAME)
    first = desktop.process
    await desktop.start_service()
    assert desktop.process is not None
    assert await asyncio.wait_for(desktop.process.wait(), DEADLINE_SEC) == 1
    assert await client.name_owner(names.BUS_NAME) == owner
    # The loser takes nothing of the winner's with it.
    assert desktop.flag.exists()
    desktop.process = first


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user")
async def test_it_works_for_its_own_user_only(desktop: Desktop) -> None:
    isod, _ = await started(desktop)
    other = await connect(desktop.session.socket_as(65534), caps=SESSION_CAPS, external_uid=65534)
    with pytest.raises(RemoteError, match="AccessDenied"):
        await call(other, "ListContainers")
    await other.close()
    assert isod.named("ListContainers") == []


async def test_it_tells_the_service_manager_that_it_is_up(desktop: Desktop, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(os.fspath(tmp_path / "notify"))
        manager.setblocking(False)
        await desktop.start_service(NOTIFY_SOCKET=os.fspath(tmp_path / "notify"))
        said = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(manager, 100), DEADLINE_SEC)
    assert said == b"READY=1"
    client = await connect(desktop.session.address, caps=SESSION_CAPS)
    assert await client.name_owner(names.BUS_NAME)
    await client.close()


async def test_it_sleeps_while_nothing_happens(desktop: Desktop) -> None:
    await started(desktop)
    assert desktop.process is not None
    status = Path(f"/proc/{desktop.process.pid}/status")

    def switches() -> int:
        return sum(int(line.split()[1]) for line in status.read_text().splitlines() if "ctxt_switches" in line)

    await asyncio.sleep(0.5)
    before = switches()
    await asyncio.sleep(2)
    assert switches() - before == 0


async def test_what_a_killed_one_left_is_not_believed(desktop: Desktop) -> None:
    await started(desktop)
    assert await desktop.stop_service(signal.SIGKILL) == -signal.SIGKILL
    assert desktop.flag.exists()
    assert desktop.system is not None
    desktop.system_path.unlink()
    await desktop.start_service()
    await desktop.client()
    await until(lambda: not desktop.flag.exists())
