"""What isod-session stands between in its tests: a session bus and a system bus of their own, a stand-in for isod."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from buses import Bus, dbus_daemon
from isod_contract import names
from isod_wire import SESSION_CAPS, SYSTEM_BUS_CAPS, Connection, Message, Variant, connect

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


@contextlib.asynccontextmanager
async def running_desktop(directory: Path) -> AsyncIterator[Desktop]:
    """Give a desktop with its session bus running; at the end all is stopped and nothing of it may have failed."""
    async with contextlib.AsyncExitStack() as stack:
        session = stack.enter_context(dbus_daemon())
        runtime = directory / "runtime"
        runtime.mkdir()
        made = Desktop(stack, session, directory / "system_bus", runtime)
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
