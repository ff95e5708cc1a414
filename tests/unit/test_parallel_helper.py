"""The helper whose calls go into containers, from both ends: what one container holds, nobody else waits for."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from isod.host import parallel_helper as client
from isod.host.helper_units import HelperUnits
from isod.host.parallel_helper import ParallelHelper
from isod.ports import UnitStatus
from isod_helper.serve import APART, VERBS, serve_apart

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the helper answers root alone")


class Unit:
    """The helper's socket unit: a process for each connection, as systemd starts them."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.pids: list[int] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._server.bind(self.path)
        self._server.listen(8)
        asyncio.get_running_loop().add_reader(self._server, self._accept)

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        connection.setblocking(True)
        pid = os.fork()
        if pid == 0:
            try:
                os.closerange(3, connection.fileno())
                os.closerange(connection.fileno() + 1, 256)
                serve_apart(connection, {"give": _give, "hold": _hold, "wrong": _wrong})
            finally:
                os._exit(0)
        connection.close()
        self.pids.append(pid)

    def end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._server)
        self._server.close()


def _give(_request: dict[str, object], fds: list[int]) -> int:
    return os.dup(fds[0])


def _wrong(_request: dict[str, object], _fds: list[int]) -> int | None:
    raise ValueError("that is wrong")


def _hold(_request: dict[str, object], fds: list[int]) -> int | None:
    # As the kernel does for a FUSE server: no signal ends it, only the server's answer.
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    os.read(fds[0], 1)
    return None


@pytest.fixture
async def unit(tmp_path: Path) -> AsyncIterator[Unit]:
    made = Unit(tmp_path / "helper")
    yield made
    made.end()


@pytest.fixture
async def file_system() -> AsyncIterator[tuple[int, Callable[[], None]]]:
    """Give a descriptor that holds who reads it, and what lets all of them go."""
    reader, writer = os.pipe()
    ends = [writer]

    def let_go() -> None:
        while ends:
            os.close(ends.pop())

    yield reader, let_go
    let_go()
    os.close(reader)


@pytest.fixture
async def helper(unit: Unit) -> AsyncIterator[ParallelHelper]:
    made = ParallelHelper(unit.path)
    yield made
    made.close()


def fds_held() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_one_process_serves_all_and_hands_out_what_they_give(unit: Unit, helper: ParallelHelper) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    given = await asyncio.gather(*(helper.call("blog", {"verb": "give"}, [null]) for _ in range(20)))
    os.close(null)
    assert {os.readlink(f"/proc/self/fd/{fd}") for (fd,) in given} == {"/dev/null"}
    for (fd,) in given:
        os.close(fd)
    assert len(unit.pids) == 1


async def test_a_refusal_is_told_and_leaves_it_there(unit: Unit, helper: ParallelHelper) -> None:
    for _ in range(2):
        with pytest.raises(OSError, match="that is wrong"):
            await helper.call("blog", {"verb": "wrong"}, [0])
    assert len(unit.pids) == 1


@pytest.mark.attack("C50")
async def test_a_container_that_holds_its_calls_delays_no_other_and_takes_two_places(
    unit: Unit,
    helper: ParallelHelper,
    file_system: tuple[int, Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A2, A10, as a kind: a file system that never answers holds a process of ours that nobody can end."""
    monkeypatch.setattr(client, "_CALL_SEC", 4)
    reader, let_go = file_system
    os.close((await helper.call("blog", {"verb": "give"}, [0]))[0])
    calls = [asyncio.create_task(helper.call("evil", {"verb": "hold"}, [reader])) for _ in range(8)]
    began = time.monotonic()
    for _ in range(10):
        os.close((await helper.call("blog", {"verb": "give"}, [0]))[0])
    assert time.monotonic() - began < 3.5
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in ended} == {TimeoutError}
    assert "earlier calls" in str(ended[-1])
    # Two of eight are held, by processes of the helper; later ones take none.
    with pytest.raises(TimeoutError, match="earlier calls"):
        await helper.call("evil", {"verb": "give"}, [0])
    children = Path(f"/proc/{unit.pids[0]}/task/{unit.pids[0]}/children").read_text().split()
    assert len(children) == 2
    let_go()
    os.close((await helper.call("evil", {"verb": "give"}, [0]))[0])


async def test_what_comes_after_its_time_is_closed(
    unit: Unit, helper: ParallelHelper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_START_SEC", 0.01)
    helper.stand_by()
    await asyncio.sleep(0.05)
    os.kill(unit.pids[0], signal.SIGSTOP)
    before = fds_held()
    with pytest.raises(TimeoutError, match="isod-helper does not answer within"):
        await helper.call("blog", {"verb": "give"}, [0])
    os.kill(unit.pids[0], signal.SIGCONT)
    async with asyncio.timeout(5):
        while fds_held() != before:
            await asyncio.sleep(0.01)


async def test_one_that_died_while_it_waited_is_replaced(unit: Unit, helper: ParallelHelper) -> None:
    os.close((await helper.call("blog", {"verb": "give"}, [0]))[0])
    os.kill(unit.pids[0], signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, unit.pids[0], 0)
    os.close((await helper.call("blog", {"verb": "give"}, [0]))[0])
    assert len(unit.pids) == 2


async def test_it_ends_when_it_is_not_asked_for_a_while(
    unit: Unit, helper: ParallelHelper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_KEPT_SEC", 0.05)
    os.close((await helper.call("blog", {"verb": "give"}, [0]))[0])
    async with asyncio.timeout(5):
        assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, unit.pids[0], 0))[1]) == 0


async def test_without_its_socket_there_is_an_error(tmp_path: Path) -> None:
    helper = ParallelHelper(str(tmp_path / "helper"))
    helper.stand_by()
    with pytest.raises(FileNotFoundError):
        await helper.call("blog", {"verb": "give"}, [0])
    helper.close()


def test_the_verbs_that_go_into_containers_are_served_so() -> None:
    assert {verb for group in APART for verb in VERBS[group]} >= {"open-root", "attach-directory", "open-terminal"}


class SocketUnits:
    """systemd, which makes the socket anew; `state` is what it says of the unit before."""

    def __init__(self, path: Path, state: str) -> None:
        self.path, self.state = path, state
        self.restarted: list[str] = []
        self.made: list[Unit] = []

    async def status(self, _unit: str) -> UnitStatus:
        return UnitStatus(load_state="loaded", active_state=self.state, sub_state="", invocation_id="")

    async def restart(self, unit: str) -> str:
        self.restarted.append(unit)
        self.made.append(Unit(self.path))
        return "done"


async def test_a_socket_whose_file_was_removed_is_made_anew(tmp_path: Path) -> None:
    """F16: systemd says that it listens, and a restart of isod changed nothing."""
    units = SocketUnits(tmp_path / "helper-mount", "active")
    helper = ParallelHelper(str(units.path), HelperUnits(units))
    os.close((await helper.call("blog", {"verb": "give"}, [0]))[0])
    assert units.restarted == ["isod-helper-mount.socket"]
    helper.close()
    units.made[0].end()


async def test_a_socket_that_was_stopped_stays_so_and_is_named(tmp_path: Path) -> None:
    units = SocketUnits(tmp_path / "helper-mount", "inactive")
    helper = ParallelHelper(str(units.path), HelperUnits(units))
    with pytest.raises(FileNotFoundError, match=r"isod-helper-mount\.socket does not listen; `systemctl restart"):
        await helper.call("blog", {"verb": "give"}, [0])
    assert units.restarted == []
    helper.close()
