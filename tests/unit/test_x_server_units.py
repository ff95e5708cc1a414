"""X servers that the host's systemd runs for a user: as that user, in the sandbox, for the login's own service."""

import os
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core_fakes import ALICE
from display_fakes import Display, running_display
from isod.core.x_server_units import XServerUnits
from isod.resources.x11 import X11
from isod_contract.errors import (
    ContainerGone,
    InvalidArgument,
    IsodError,
    NoSession,
    NotGranted,
    StartFailed,
    UnsafeFd,
    Unsupported,
)
from isod_contract.sandbox import properties, x_server

PROGRAM = "/usr/libexec/isod-xserver"


class HostUnits:
    """The host's systemd: notes what it was to start, and with what."""

    def __init__(self) -> None:
        self.started: list[tuple[str, list[tuple[str, str, Any]], int]] = []
        self.stopped: list[str] = []
        self.fault: Exception | None = None

    async def version(self) -> str:
        return "257.9-1"

    async def start_transient(self, unit: str, properties: Sequence[tuple[str, str, Any]], fds: Sequence[int]) -> None:
        if self.fault:
            raise self.fault
        self.started.append((unit, list(properties), len(fds)))

    async def stop(self, unit: str) -> str:
        self.stopped.append(unit)
        return "done"


class Host:
    def __init__(self, display: Display) -> None:
        self.display, self.units = display, HostUnits()
        self.servers = XServerUnits(
            units=self.units,  # type: ignore[arg-type]
            sessions=display.sessions,
            reconciler=display.reconciler,
            render_nodes=lambda _container: ["/dev/dri/renderD128"],
            program=PROGRAM,
            systemd_version=self.units.version,
        )

    async def start(self, control: int | None) -> None:
        await self.servers.start(self.display.container, ALICE, control)


@pytest_asyncio.fixture
async def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    async with running_display(tmp_path, monkeypatch) as display:
        yield Host(display)


def unix_socket() -> int:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).detach()


async def test_it_is_the_sandbox_of_the_template_as_the_user_and_for_the_login(host: Host) -> None:
    host.display.register()
    await host.display.launch()
    await host.start(unix_socket())
    ((unit, started, fds),) = host.units.started
    assert (unit, fds) == ("isoctl-x11-1000-blog.service", 1)
    template = properties(x_server(PROGRAM, "blog", ["/dev/dri/renderD128"]), systemd=257, by_host=True)
    assert started[: len(template)] == template
    assert {name: value for name, _, value in started[len(template) :]} == {
        "StandardInputFileDescriptor": 0,
        "User": "1000",
        "Slice": "user-1000.slice",
        "BindsTo": ["user@1000.service"],
        "After": ["user@1000.service"],
    }
    await host.servers.stop(host.display.container, ALICE)
    assert host.units.stopped == [unit]


@pytest.mark.attack("C42")
@pytest.mark.parametrize("kind", ["nothing", "file", "pipe", "inet", "device"])
async def test_pid_1_is_given_a_unix_socket_and_nothing_else(host: Host, tmp_path: Path, kind: str) -> None:
    """A2's kind: closing a file of a file system of the caller's can hang whoever holds it, which would be PID 1."""
    host.display.register()
    await host.display.launch()
    fd: int | None = None
    match kind:
        case "file":
            fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
        case "pipe":
            fd, writer = os.pipe()
            os.close(writer)
        case "inet":
            fd = socket.socket(socket.AF_INET).detach()
        case "device":
            fd = os.open("/dev/null", os.O_RDWR)
    with pytest.raises(InvalidArgument if kind == "nothing" else UnsafeFd):
        await host.start(fd)
    assert host.units.started == []


@pytest.mark.attack("C42")
@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("no session", NoSession),
        ("another process of the user's", NoSession),
        ("not running", ContainerGone),
        ("not attached", NotGranted),
        ("withdrawn", NotGranted),
        ("the host's X server", NotGranted),
    ],
)
async def test_nobody_else_has_one_started(host: Host, state: str, error: type[IsodError]) -> None:
    display = host.display
    if state != "no session":
        display.register()
    if state not in ("no session", "not attached"):
        await display.launch()
    caller = replace(ALICE, sender=":1.999") if state.startswith("another") else ALICE
    match state:
        case "not running":
            display.container.guest = None
        case "withdrawn":
            display.grant(x11="none")
            await display.settle()
        case "the host's X server":
            display.grant(x11="host")
            await display.settle()
    with pytest.raises(error):
        await host.servers.start(display.container, caller, unix_socket())
    assert host.units.started == []


async def test_only_the_registered_service_stops_one(host: Host) -> None:
    with pytest.raises(NoSession):
        await host.servers.stop(host.display.container, ALICE)
    assert host.units.stopped == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [(TimeoutError("no answer"), StartFailed), (Unsupported(what="it", reason="UnitExists"), Unsupported)],
)
async def test_what_systemd_says_is_told(host: Host, fault: Exception, error: type[IsodError]) -> None:
    host.display.register()
    await host.display.launch()
    host.units.fault = fault
    with pytest.raises(error):
        await host.start(unix_socket())


async def test_without_a_program_that_serves_x11_there_is_no_attachment(host: Host) -> None:
    """B3: the default of x11, on a host without Xwayland: no DISPLAY, and nothing that is started again and again."""
    host.display.register(x_server=False)
    assert await host.display.launch() == (["wayland"], "")
    assert sorted(host.display.attachments) == ["wayland"]
    host.display.register(x_server=True)
    assert await host.display.launch() == (["wayland", "x11"], "")


def test_a_service_from_before_an_update_does_not_say_and_is_believed(host: Host) -> None:
    host.display.register()
    session = host.display.sessions.find(ALICE.uid)
    assert session is not None
    assert session.has_x_server
    assert X11.attachment({"x11": "isolated", "wayland": "secured"}, session)
