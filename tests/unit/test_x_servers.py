"""X servers of containers: nothing is left of one that is not due, none is started without end, none outside its walls.

The clients are the container's, and may be hostile; so is what becomes of a server that they took over.
"""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from closed import until_open_are
from isod_session import handover, x11
from isod_session.handover import FAILED, IDLE, READY, UNCONFINED, Handover
from isod_session.wayland import WaylandError
from isod_session.x11 import XServers
from isod_wire import WireError


class Run:
    """One start of a unit: what its program has as standard input."""

    def __init__(self, control: socket.socket, *, by_host: bool) -> None:
        self.control, self.by_host = control, by_host
        self.given: Handover = handover.receive(control)

    def report(self, text: str) -> None:
        handover.report(self.control, text)

    def end(self) -> None:
        if self.control.fileno() < 0:
            return
        for fd in (self.given.listen, self.given.wayland, self.given.clipboard):
            os.close(fd)
        self.control.close()


class Units:
    """A systemd that starts nothing, and notes what it was to start."""

    def __init__(self) -> None:
        self.by_host = False
        self.runs: list[Run] = []
        self.stopped: list[str] = []
        self.older: set[str] = set()
        self.refuses = ""
        self.at_once: Callable[[Run], None] | None = None

    async def start(self, _container: str, stdin_fd: int, _nodes: Sequence[str]) -> None:
        if self.refuses:
            raise WireError(self.refuses)
        run = Run(socket.socket(fileno=os.dup(stdin_fd)), by_host=self.by_host)
        self.runs.append(run)
        if self.at_once is not None:
            self.at_once(run)

    async def stop(self, container: str) -> None:
        self.stopped.append(container)

    async def is_running(self, container: str) -> bool:
        return container in self.older


class Compositors:
    """One that takes its time."""

    def __init__(self) -> None:
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()
        self.readers: list[int] = []
        self.fails = False

    async def connect_private(self, _container: str) -> tuple[socket.socket, int]:
        self.asked.set()
        await self.go_on.wait()
        if self.fails:
            raise WaylandError("it left")
        reader, writer = os.pipe()
        self.readers.append(reader)
        return socket.socket(socket.AF_UNIX), writer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


class Desk:
    """XServers over fakes, with listening sockets as isod has them."""

    def __init__(self, directory: Path) -> None:
        (directory / "isoctl").mkdir(exist_ok=True)
        self.directory = directory
        self.units, self.compositors = Units(), Compositors()
        self.servers = XServers(directory, self.compositors, self.units)
        self.listeners: dict[str, socket.socket] = {}

    def listen(self, name: str) -> int:
        listener = self.listeners[name] = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.directory / name))
        listener.listen()
        return os.dup(listener.fileno())

    def connect(self, name: str) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        client.connect(str(self.directory / name))
        return client

    async def started(self, count: int = 1) -> Run:
        await until(lambda: len(self.units.runs) >= count)
        assert len(self.units.runs) == count
        return self.units.runs[-1]

    async def is_turned_away(self, client: socket.socket) -> bool:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(3):
                return await loop.sock_recv(client, 1) == b""
        except TimeoutError:
            return False

    async def close(self) -> None:
        await self.servers.close()
        for run in self.units.runs:
            run.end()
        for listener in self.listeners.values():
            listener.close()
        for reader in self.compositors.readers:
            os.close(reader)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    made.compositors.go_on.set()
    yield made
    await made.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of rest take hundredths."""
    monkeypatch.setattr(x11, "_LOOK_SEC", 0.01)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("anew", [False, True], ids=["withdrawn", "another socket"])
async def test_a_start_that_is_overtaken_starts_nothing_and_leaves_nothing(
    tmp_path: Path, fails: bool, anew: bool
) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    desk = Desk(tmp_path)
    desk.compositors.fails = fails
    await desk.servers.serve("blog", desk.listen("X0"))
    other = desk.listen("X1")
    with desk.connect("X0"):
        await asyncio.wait_for(desk.compositors.asked.wait(), 5)
        if anew:
            await desk.servers.serve("blog", os.dup(other))
        else:
            await desk.servers.forget("blog")
        desk.compositors.go_on.set()
        await asyncio.gather(*desk.servers._tasks)
    assert desk.units.runs == []
    for reader in desk.compositors.readers:
        assert os.read(reader, 1) == b""  # what leads to the compositor has been closed
    os.close(other)
    await desk.close()
    gc.collect()
    until_open_are(before)


async def test_a_server_is_given_all_that_it_needs_by_descriptors(desk: Desk) -> None:
    await desk.servers.serve("blog", desk.listen("X"), ["/dev/dri/renderD128"])
    with desk.connect("X"):
        run = await desk.started()
        given = run.given
        assert (given.container, given.has_gpu) == ("blog", True)
        assert given.host["net"] == os.readlink("/proc/self/ns/net")
        assert os.path.sameopenfile(given.listen, desk.listeners["X"].fileno())
        with (
            desk.connect("isoctl/clipboard-blog") as asking,
            socket.socket(fileno=os.dup(given.clipboard)) as clipboard,
        ):
            clipboard.accept()[0].close()
            assert await desk.is_turned_away(asking)
        assert desk.servers.running
        with socket.socket(fileno=os.dup(given.listen)) as listener:
            listener.accept()[0].close()
        run.report(READY)
        run.report(IDLE)
        run.end()
        await until(lambda: not desk.servers.running)
    assert not (desk.directory / "isoctl/clipboard-blog").exists()
    # and again with the next client
    with desk.connect("X"):
        (await desk.started(2)).end()


@pytest.mark.attack("C40")
@pytest.mark.parametrize(
    "ending",
    ["", READY, f"{FAILED}Xwayland is not installed", f"{FAILED}Xwayland ended (signal 11)"],
    ids=["says nothing", "killed once it is ready", "no Xwayland", "crashes"],
)
async def test_a_server_that_ends_early_is_not_started_without_end(
    desk: Desk, clock: None, caplog: pytest.LogCaptureFixture, ending: str
) -> None:
    """A7, B3: a client that ends its server, or a host without one, had it started 20 times a second for ever."""

    def at_once(run: Run) -> None:
        if ending:
            run.report(ending)
        run.end()

    desk.units.by_host = True
    desk.units.at_once = at_once
    await desk.servers.serve("blog", desk.listen("X"))
    caplog.set_level("WARNING")
    for _ in range(100):
        with desk.connect("X") as client:
            await desk.is_turned_away(client)
    # one at once, one after a second; a hundred clients took less than three
    assert 1 <= len(desk.units.runs) <= 3
    assert "X clients are turned away for 1 s" in caplog.text
    told = ending.removeprefix(FAILED) if ending.startswith(FAILED) else "it ended"
    assert told in caplog.text


async def test_the_rest_ends_and_ends_with_the_grant(desk: Desk, clock: None) -> None:
    """B3: it went on when the container and the app had ended."""
    desk.units.at_once = Run.end
    desk.units.by_host = True
    await desk.servers.serve("blog", desk.listen("X"))
    with desk.connect("X"):
        await desk.started()
    await asyncio.sleep(0.05)
    with desk.connect("X") as waits:
        assert await desk.is_turned_away(waits)
    await desk.servers.forget("blog")
    desk.units.runs.clear()
    with desk.connect("X"):
        await asyncio.sleep(1.2)
    assert desk.units.runs == []
    assert desk.units.stopped == ["blog"]


async def idle(desk: Desk, *, nodes: Sequence[str] = ()) -> Run:
    """Have a server run and become idle; its unit stays."""
    await desk.servers.serve("blog", desk.listen("X"), nodes)
    with desk.connect("X"):
        run = await desk.started()
        with socket.socket(fileno=os.dup(run.given.listen)) as listener:
            listener.accept()[0].close()
    run.report(READY)
    run.report(IDLE)
    await until(lambda: not desk.servers.running)
    return run


async def test_the_unit_stays_for_the_next_client(desk: Desk) -> None:
    """Its walls and its program stand: the second window comes sooner than one without a sandbox did."""
    run = await idle(desk)
    with desk.connect("X"):
        await until(lambda: desk.servers.running and len(desk.compositors.readers) == 2)
        again = handover.receive(run.control)
        assert os.path.sameopenfile(again.listen, run.given.listen)
        assert not os.path.sameopenfile(again.wayland, run.given.wayland)
        for fd in (again.listen, again.wayland, again.clipboard):
            os.close(fd)
    assert len(desk.units.runs) == 1


@pytest.mark.parametrize("when", ["between", "as it is given the next run"])
async def test_a_unit_that_leaves_between_two_runs_is_no_failure(
    desk: Desk, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    run = await idle(desk)
    caplog.set_level("WARNING")
    if when == "between":
        run.end()
        await asyncio.sleep(0.05)
    with desk.connect("X"):
        if when != "between":
            await until(lambda: len(desk.compositors.readers) == 2)
            run.end()
        (await desk.started(2)).end()
    assert caplog.text == ""
    assert not desk.units.by_host


@pytest.mark.attack("C41")
async def test_with_another_grant_the_next_run_has_another_unit(desk: Desk) -> None:
    await idle(desk, nodes=["/dev/dri/renderD128"])
    await desk.servers.serve("blog", os.dup(desk.listeners["X"].fileno()), [])
    assert desk.units.stopped == ["blog"]
    with desk.connect("X"):
        assert not (await desk.started(2)).given.has_gpu


@pytest.mark.attack("C40")
async def test_a_server_that_was_taken_over_and_reports_without_end_is_ended(
    desk: Desk, clock: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    await desk.servers.serve("blog", desk.listen("X"))
    with desk.connect("X"):
        run = await desk.started()
        for _ in range(100):
            run.report(READY)
        await until(lambda: desk.units.stopped == ["blog"])
    assert "it reports without end" in caplog.text


async def test_a_user_manager_without_walls_gives_way_to_the_hosts(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Ubuntu's AppArmor, user.max_user_namespaces=0: nothing runs outside the walls, and nothing is lost by them."""

    def at_once(run: Run) -> None:
        if not run.by_host:
            run.report(f"{UNCONFINED}no ipc namespace of its own")
            run.end()

    desk.units.at_once = at_once
    await desk.servers.serve("blog", desk.listen("X"))
    with desk.connect("X"):
        run = await desk.started(2)
        assert run.by_host
        assert "no ipc namespace of its own" in caplog.text
        run.report(READY)
        run.end()


@pytest.mark.attack("C40")
async def test_a_server_that_nothing_confines_does_not_run(
    desk: Desk, clock: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A1: without its walls a server is not run, and the journal says what is missing."""
    desk.units.at_once = lambda run: (run.report(f"{UNCONFINED}the host's /dev/shm"), run.end())[-1]
    caplog.set_level("WARNING")
    await desk.servers.serve("blog", desk.listen("X"))
    with desk.connect("X") as client:
        assert await desk.is_turned_away(client)
    assert [run.by_host for run in desk.units.runs] == [False, True]
    assert "no X server for container blog: the host's /dev/shm" in caplog.text


async def test_clients_are_turned_away_while_systemd_refuses(desk: Desk, clock: None) -> None:
    desk.units.refuses = "no such property"
    await desk.servers.serve("blog", desk.listen("X"))
    for _ in range(2):
        with desk.connect("X") as client:
            assert await desk.is_turned_away(client)


async def test_one_that_outlived_the_isod_session_before_us_goes_on_and_is_followed(desk: Desk, clock: None) -> None:
    desk.units.older = {"blog"}
    await desk.servers.serve("blog", desk.listen("X"))
    assert desk.servers.running
    with desk.connect("X"):
        await asyncio.sleep(0.1)
        assert desk.units.runs == []
        desk.units.older = set()
        (await desk.started()).end()


async def test_one_of_an_isod_session_before_us_ends_where_the_grant_is_gone(desk: Desk) -> None:
    for _ in range(2):
        await desk.servers.forget("blog")
    assert desk.units.stopped == ["blog"]


async def test_who_waits_is_told_of_when_there_are_no_descriptors(
    desk: Desk, clock: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A14, B7: a shortage is logged and tried again."""

    def none_left(_family: int, _kind: int) -> tuple[socket.socket, socket.socket]:
        raise OSError(24, "Too many open files")

    caplog.set_level("WARNING")
    with monkeypatch.context() as shortage:
        shortage.setattr(socket, "socketpair", none_left)
        await desk.servers.serve("blog", desk.listen("X"))
        with desk.connect("X") as client:
            assert await desk.is_turned_away(client)
        assert "Too many open files" in caplog.text
    await asyncio.sleep(1.1)
    with desk.connect("X"):
        (await desk.started()).end()
