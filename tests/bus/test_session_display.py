"""isod-session as a whole between a compositor and isod: what is registered, served, and let go again."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from desktop import APP_PATH, SYSTEMD, Desktop, FakeIsod, call, running_desktop, until
from fake_compositor import CONTAINED, FakeCompositor
from isod_contract import names
from isod_session import handover
from isod_session.registration import has_x_server
from isod_session.wayland import Compositor
from isod_wire import SESSION_CAPS, Connection, Message, RemoteError, Variant, connect


class UserManager:
    """The user's systemd: starts nothing, and notes what it was to start."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.started: list[tuple[str, dict[str, Any], socket.socket]] = []
        self.stopped: list[str] = []
        self.refuses = False
        connection.on_call(self._on_call)

    def _on_call(self, call: Message) -> None:
        with call:
            match call.member:
                case "Get" if call.body[1] == "Version":
                    self.connection.reply(call, "v", [Variant("s", "257.9-1")])
                case "Get":
                    self.connection.reply(call, "v", [Variant("as", [])])
                case "StartTransientUnit" if self.refuses:
                    self.connection.reply_error(call, f"{SYSTEMD}.UnitExists", "no")
                case "StartTransientUnit":
                    unit, _, properties, _ = call.body
                    stdin = socket.socket(fileno=call.fds.copy(0))
                    self.started.append((unit, {key: value.value for key, value in properties}, stdin))
                    self.connection.reply(call, "o", ["/job"])
                case "StopUnit":
                    self.stopped.append(call.body[0])
                    self.connection.reply(call, "o", ["/job"])
                case "GetUnit":
                    self.connection.reply_error(call, f"{SYSTEMD}.NoSuchUnit", "no such unit")
                case _:
                    self.connection.reply(call)

    def unit_ended(self) -> None:
        """The last one ends: nothing holds its standard input any more."""
        self.started[-1][2].close()


class Isod:
    """An isod with containers whose sockets the test makes."""

    def __init__(self, fake: FakeIsod, directory: Path) -> None:
        self.fake, self.directory = fake, directory
        self.containers: dict[str, str] = {}
        self.resources: tuple[str, ...] = ("wayland", "x11")
        self.listeners: dict[str, socket.socket] = {}
        fake.answers |= {"ListContainers": self._list, "OpenDisplay": self._open}

    def _list(self, call: Message) -> None:
        entries = [
            [names.container_path(name), {"Name": Variant("s", name), "State": Variant("s", state)}]
            for name, state in self.containers.items()
        ]
        self.fake.connection.reply(call, "a(oa{sv})", [entries])

    def _open(self, call: Message) -> None:
        fds = [self.listener(call.body[0], resource).fileno() for resource in self.resources]
        told = {resource: Variant("h", index) for index, resource in enumerate(self.resources)}
        self.fake.connection.reply(call, "a{sv}", [told], fds=tuple(fds))

    def path(self, container: str, resource: str = "wayland") -> Path:
        return self.directory / f"{container}-{resource}"

    def listener(self, container: str, resource: str) -> socket.socket:
        path = self.path(container, resource)
        if path.name not in self.listeners:
            made = self.listeners[path.name] = socket.socket(socket.AF_UNIX)
            made.bind(str(path))
            made.listen()
        return self.listeners[path.name]

    def changed(self, container: str, what: str = "Attachments") -> None:
        body = [names.CONTAINER, {what: Variant("s", "")}, []]
        self.fake.connection.emit(
            names.container_path(container), names.PROPERTIES, "PropertiesChanged", "sa{sv}as", body
        )

    @property
    def last_session(self) -> dict[str, Variant]:
        return self.fake.sessions[-1] if self.fake.sessions else {}

    def close(self) -> None:
        for listener in self.listeners.values():
            listener.close()


@pytest_asyncio.fixture
async def desktop(tmp_path: Path) -> AsyncIterator[Desktop]:
    async with running_desktop(tmp_path) as made:
        await made.start_system_bus()
        yield made


@pytest_asyncio.fixture
async def isod(desktop: Desktop, tmp_path: Path) -> AsyncIterator[Isod]:
    made = Isod(await desktop.start_isod(), tmp_path)
    yield made
    made.close()


@pytest_asyncio.fixture
async def manager(desktop: Desktop) -> UserManager:
    connection = await connect(desktop.session.address, caps=SESSION_CAPS)
    desktop.stack.push_async_callback(connection.close)
    made = UserManager(connection)
    await connection.request_name(SYSTEMD)
    desktop.stack.callback(lambda: [stdin.close() for _, _, stdin in made.started])
    return made


@pytest.fixture
def compositor(desktop: Desktop) -> Iterator[FakeCompositor]:
    running = FakeCompositor(desktop.runtime / "wayland-1")
    yield running
    running.stop()


async def test_a_compositor_is_registered_with_what_it_can_and_its_own_socket(
    desktop: Desktop, isod: Isod, compositor: FakeCompositor
) -> None:
    compositor.contained = (*CONTAINED, "zwlr_layer_shell_v1")
    await desktop.start_service()
    await until(lambda: isod.last_session)
    assert {key: value.value for key, value in isod.last_session.items()} == {
        "environment": [],
        "wayland": "context",
        "exposed": ["zwlr_layer_shell_v1"],
        "x-server": has_x_server(),
        "socket": 0,
        "socket-name": "wayland-1",
    }
    (fd,) = isod.fake.fds
    status = os.fstat(fd)
    assert stat.S_ISSOCK(status.st_mode)
    assert os.path.samestat(status, compositor.path.lstat())
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.read(fd, 1)


async def test_without_a_compositor_the_session_is_registered_without_a_display(desktop: Desktop, isod: Isod) -> None:
    await desktop.start_service(WAYLAND_DISPLAY="wayland-1")
    await until(lambda: isod.last_session)
    assert list(isod.last_session) == ["environment", "x-server"]
    compositor = FakeCompositor(desktop.runtime / "wayland-1")
    await until(lambda: "wayland" in isod.last_session)
    compositor.stop()


async def test_running_containers_are_served_and_those_that_come_up_later(
    desktop: Desktop, isod: Isod, compositor: FakeCompositor
) -> None:
    isod.containers = {"blog": "running", "db": "stopped"}
    await desktop.start_service()
    await until(lambda: compositor.app_ids() == ["blog"])
    with Compositor.connect(str(isod.path("blog"))) as client:
        assert set(client.globals) == set(CONTAINED)
    isod.containers["db"] = "running"
    isod.changed("db", "State")
    await until(lambda: compositor.app_ids() == ["blog", "db"])
    assert compositor.registered.count("blog") == 1


@pytest.mark.parametrize("how", ["grant withdrawn", "user withdrawn"])
async def test_what_is_withdrawn_is_served_no_longer(
    desktop: Desktop, isod: Isod, compositor: FakeCompositor, manager: UserManager, how: str
) -> None:
    isod.containers = {"blog": "running", "db": "running"}
    await desktop.start_service()
    await until(lambda: compositor.app_ids() == ["blog", "db"])
    if how == "grant withdrawn":
        isod.resources = ()
        isod.changed("blog")
        await until(lambda: compositor.app_ids() == [])
        await until(lambda: sorted(manager.stopped) == ["isoctl-x11-blog.service", "isoctl-x11-db.service"])
    else:
        del isod.containers["blog"]
        isod.changed("db", "Grants")
        await until(lambda: compositor.app_ids() == ["db"])
        await until(lambda: manager.stopped == ["isoctl-x11-blog.service"])


async def test_the_next_compositor_and_the_next_isod_find_the_same_sockets(
    desktop: Desktop, isod: Isod, compositor: FakeCompositor, tmp_path: Path
) -> None:
    isod.containers = {"blog": "running"}
    await desktop.start_service()
    await until(lambda: compositor.app_ids() == ["blog"])
    inode = compositor.contexts[-1].inode
    compositor.stop()
    second = FakeCompositor(compositor.path)
    await until(lambda: second.app_ids() == ["blog"])
    assert [context.inode for context in second.contexts if context.app_id == "blog"] == [inode]
    await isod.fake.leave()
    again = Isod(await desktop.start_isod(), tmp_path)
    again.containers, again.listeners = isod.containers, isod.listeners
    await until(lambda: again.fake.named("OpenDisplay"))
    assert second.registered.count("blog") == 1
    second.stop()


async def test_an_x_server_starts_with_the_first_client_and_again_after_its_end(
    desktop: Desktop, isod: Isod, compositor: FakeCompositor, manager: UserManager
) -> None:
    isod.containers = {"blog": "running"}
    await desktop.start_service()
    await until(lambda: compositor.app_ids() == ["blog"])
    assert manager.started == []
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(isod.path("blog", "x11")))
        await until(lambda: manager.started)
        ((unit, properties, stdin),) = manager.started
        assert (unit, properties["StandardInputFileDescriptor"]) == ("isoctl-x11-blog.service", 0)
        assert properties["PrivateIPC"] is True
        given = handover.receive(stdin)
        # Its own way to the compositor is a restricted one too, and no file.
        with Compositor(socket.socket(fileno=given.wayland)) as inside:
            await asyncio.to_thread(inside._read_globals)
            assert set(inside.globals) == set(CONTAINED)
        assert compositor.app_ids() == ["blog", "blog"]
        assert not list((desktop.runtime / "isoctl").glob("wayland-*"))
        # As isod-xserver does.
        isod.listener("blog", "x11").accept()[0].close()
        handover.report(stdin, handover.READY)
        handover.report(stdin, handover.IDLE)
    manager.unit_ended()
    await until(lambda: compositor.app_ids() == ["blog"])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(isod.path("blog", "x11")))
        await until(lambda: len(manager.started) == 2)
    os.close(given.listen)
    os.close(given.clipboard)


async def test_an_x_client_is_turned_away_where_no_server_can_be_started(
    desktop: Desktop, isod: Isod, compositor: FakeCompositor, manager: UserManager
) -> None:
    manager.refuses = True
    isod.containers = {"blog": "running"}
    await desktop.start_service()
    await until(lambda: compositor.app_ids() == ["blog"])
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            client.connect(str(isod.path("blog", "x11")))

            def is_turned_away(client: socket.socket = client) -> bool:
                try:
                    return client.recv(1) == b""
                except BlockingIOError:
                    return False

            await until(is_turned_away)
        await until(lambda: compositor.app_ids() == ["blog"])
    assert manager.started == []


async def _choose(client: Connection, display: str, **options: Any) -> str:
    with await call(client, "ChooseDisplay", "s", [display], interface=names.SESSION, **options) as reply:
        return str(reply.body[0])


@pytest.mark.parametrize(
    ("app", "is_used"),
    [
        ({"State": "running", "Running": True, "Grants": {"wayland": Variant("s", "secured")}}, True),
        ({"State": "exited", "Running": True, "Grants": {"x11": Variant("s", "isolated")}}, True),
        ({"State": "preparing", "Running": False, "Grants": {}}, True),
        ({"State": "running", "Running": True, "Grants": {}}, False),
        ({"State": "exited", "Running": False, "Grants": {"wayland": Variant("s", "secured")}}, False),
    ],
    ids=["shows windows", "left a window", "is being started", "has no display", "has ended"],
)
async def test_a_callers_compositor_is_used_unless_an_app_shows_windows_on_another(
    desktop: Desktop, isod: Isod, compositor: FakeCompositor, app: dict[str, Any], is_used: bool
) -> None:
    signatures = {bool: "b", str: "s", dict: "a{sv}"}
    entry = {key: Variant(signatures[type(value)], value) for key, value in app.items()}
    page = [[[APP_PATH, entry]], False]
    isod.fake.answers["ListAppsAfter"] = lambda asked: isod.fake.connection.reply(asked, "a(oa{sv})b", page)
    os.utime(compositor.path, (2**31, 2**31))
    other = FakeCompositor(desktop.runtime / "wayland-2")
    isod.containers = {"blog": "running"}
    await desktop.start_service()
    await until(lambda: compositor.app_ids() == ["blog"])
    client = await desktop.client()
    assert await _choose(client, "wayland-1", path=names.SESSION_PATH) == ""
    told = await _choose(client, "wayland-2", path=names.SESSION_PATH)
    served, idle = (compositor, other) if is_used else (other, compositor)
    assert told.startswith("windows appear on wayland-1, not on your wayland-2") == is_used
    await until(lambda: served.app_ids() == ["blog"])
    await until(lambda: idle.app_ids() == [])
    assert desktop.flag.read_text().splitlines()[1] == str(served.path)
    assert isod.last_session["socket-name"].value == served.path.name
    other.stop()


async def test_what_is_no_compositor_of_the_users_is_no_choice(
    desktop: Desktop, isod: Isod, compositor: FakeCompositor
) -> None:
    """A variable of an old terminal, or of somebody else's session."""
    await desktop.start_service()
    client = await desktop.client()
    await until(desktop.flag.exists)
    (desktop.runtime / "wayland-3").write_text("")
    for name in ("wayland-2", "wayland-3", "/", "", "/run/dbus/system_bus_socket", "x" * 5000):
        assert await _choose(client, name, path=names.SESSION_PATH) == ""
    assert desktop.flag.read_text().splitlines()[1] == str(compositor.path)
    with pytest.raises(RemoteError) as caught:
        await call(client, "Introspect", path=names.SESSION_PATH)
    assert caught.value.name.endswith("UnknownMethod")


async def test_a_run_on_the_session_bus_is_taken_at_its_callers_word_too(
    desktop: Desktop, isod: Isod, compositor: FakeCompositor
) -> None:
    isod.fake.answers["ListAppsAfter"] = lambda asked: isod.fake.connection.reply(asked, "a(oa{sv})b", [[], False])
    os.utime(compositor.path, (2**31, 2**31))
    other = FakeCompositor(desktop.runtime / "wayland-2")
    await desktop.start_service()
    await until(lambda: isod.last_session)
    options = {"hints": Variant("as", ["LANG=C", "WAYLAND_DISPLAY=wayland-2"])}
    (await call(await desktop.client(), "Run", "sasa{sv}", ["blog", ["true"], options])).close()
    assert isod.last_session["socket-name"].value == "wayland-2"
    other.stop()


async def test_a_program_for_x11_that_is_upgraded_is_noticed_each_time(
    desktop: Desktop, isod: Isod, compositor: FakeCompositor, tmp_path: Path
) -> None:
    """One that was there at the start, was found gone, and came back stayed unknown for the rest of the session."""
    program = tmp_path / "bin/Xwayland"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    await desktop.start_service(PATH=str(program.parent))
    await until(lambda: isod.last_session and isod.last_session["x-server"].value)
    for _ in range(2):
        program.chmod(0)
        compositor.stop()
        compositor = FakeCompositor(desktop.runtime / "wayland-1")
        await until(lambda: not isod.last_session["x-server"].value)
        program.chmod(0o700)
        await until(lambda: isod.last_session["x-server"].value)
    compositor.stop()
