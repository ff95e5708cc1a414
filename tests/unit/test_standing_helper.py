"""The helper that waits for calls, from both ends: one process for many of them, and a new one for one that died."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from isod.host import helper as client
from isod.host.helper import StandingHelper
from isod_helper.serve import LASTING, VERBS, serve_all


class Socket:
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
            code = 3
            try:
                # pytest-timeout has the signal for itself.
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                # Else it would hold the caller's end open too.
                os.closerange(3, connection.fileno())
                os.closerange(connection.fileno() + 1, 256)
                code = 0 if serve_all(connection, {"add": _add, "hang": _hang}) else 1
            finally:
                os._exit(code)
        connection.close()
        self.pids.append(pid)

    async def started(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.pids) < count:
                await asyncio.sleep(0.001)

    def end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._server)
        self._server.close()


def _add(request: dict[str, object], fds: list[int]) -> int | None:
    if request.pop("wrong", False):
        raise ValueError("that is wrong")
    os.write(fds[0], b"%d\n" % os.getpid())
    return None


def _hang(_request: dict[str, object], _fds: list[int]) -> int | None:
    signal.alarm(1)
    signal.pause()
    return None


@pytest.fixture
async def unit(tmp_path: Path) -> AsyncIterator[Socket]:
    made = Socket(tmp_path / "helper")
    yield made
    made.end()


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    ends = os.pipe2(os.O_NONBLOCK)
    yield list(ends)
    for end in ends:
        os.close(end)


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def test_one_process_serves_many_calls_and_ends_when_it_is_not_needed(unit: Socket, pipe: list[int]) -> None:
    helper = StandingHelper(unit.path)
    helper.stand_by(True)
    await unit.started(1)
    await asyncio.gather(*(helper.call({"verb": "add"}, [pipe[1]]) for _ in range(20)))
    assert os.read(pipe[0], 4096).split() == [b"%d" % unit.pids[0]] * 20
    helper.stand_by(False)
    assert (len(unit.pids), exit_code(unit.pids[0])) == (1, 0)


async def test_without_need_each_call_has_a_process_of_its_own(unit: Socket, pipe: list[int]) -> None:
    helper = StandingHelper(unit.path)
    for count in (1, 2):
        await helper.call({"verb": "add"}, [pipe[1]])
        assert exit_code(unit.pids[-1]) == 0
        assert len(unit.pids) == count


async def test_a_refusal_leaves_it_there(unit: Socket, pipe: list[int]) -> None:
    helper = StandingHelper(unit.path)
    helper.stand_by(True)
    with pytest.raises(OSError, match="that is wrong"):
        await helper.call({"verb": "add", "wrong": True}, [pipe[1]])
    await helper.call({"verb": "add"}, [pipe[1]])
    assert len(unit.pids) == 1
    helper.stand_by(False)
    assert exit_code(unit.pids[0]) == 1


async def test_one_that_died_while_it_waited_is_replaced(unit: Socket, pipe: list[int]) -> None:
    helper = StandingHelper(unit.path)
    helper.stand_by(True)
    await unit.started(1)
    os.kill(unit.pids[0], signal.SIGKILL)
    assert exit_code(unit.pids[0]) == -signal.SIGKILL
    await helper.call({"verb": "add"}, [pipe[1]])
    assert os.read(pipe[0], 4096).split() == [b"%d" % unit.pids[1]]
    helper.stand_by(False)


async def test_one_that_hangs_is_ended_by_its_own_deadline_and_told(unit: Socket, pipe: list[int]) -> None:
    helper = StandingHelper(unit.path)
    helper.stand_by(True)
    with pytest.raises(ConnectionError, match="no answer"):
        await helper.call({"verb": "hang"}, [pipe[1]])
    await helper.call({"verb": "add"}, [pipe[1]])
    helper.stand_by(False)


async def test_an_answer_that_comes_too_late_is_not_taken_for_that_to_the_next_call(
    unit: Socket, pipe: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = StandingHelper(unit.path)
    helper.stand_by(True)
    await unit.started(1)
    with monkeypatch.context() as patched:
        patched.setattr(client, "_TIMEOUT_SEC", 0.01)
        with pytest.raises(TimeoutError):
            await helper.call({"verb": "hang"}, [pipe[1]])
    await helper.call({"verb": "add"}, [pipe[1]])
    assert os.read(pipe[0], 4096).split() == [b"%d" % unit.pids[-1]]
    assert len(unit.pids) == 2
    helper.stand_by(False)


def test_only_verbs_that_change_nothing_of_the_process_are_served_so() -> None:
    """The others enter a container's namespace, or change who they are, for good."""
    assert [sorted(VERBS[name]) for name in sorted(LASTING)] == [["make-node"]]
