"""Blocking work on a container's files, and when the descriptors that it works from may be closed."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from closed import until_open_are
from isod.host import guest_door
from isod.host import offload as offload_module
from isod.host.offload import Offload
from isod_contract.errors import ContainerGone, LimitExceeded, UnsafePath


async def test_it_gives_what_the_work_gives_and_raises_what_it_raises() -> None:
    offload = Offload("blog")
    assert await offload.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await offload.run(lambda: 1 // 0)


@pytest.mark.attack("C01")
async def test_closing_waits_for_work_that_nobody_waits_for_any_more() -> None:
    """Else a thread goes on from a number that is another container's root by then."""
    offload, goes_on, ended = Offload("blog"), threading.Event(), threading.Event()

    def work() -> None:
        goes_on.wait(20)
        ended.set()

    waiting = asyncio.create_task(offload.run(work))
    await asyncio.sleep(0.05)
    waiting.cancel()
    closing = asyncio.create_task(offload.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    goes_on.set()
    await asyncio.wait_for(closing, 20)
    assert ended.is_set()


async def test_after_closing_nothing_is_done() -> None:
    offload = Offload("blog")
    await offload.close()
    done: list[int] = []
    with pytest.raises(ContainerGone):
        await offload.run(lambda: done.append(1))
    assert not done


async def test_a_thread_that_can_not_be_made_leaves_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """B8: `close` waited for ever for work that had never begun, and kept the container's root and pidfd open."""
    offload = Offload("blog")

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(3):
            with pytest.raises(LimitExceeded, match="no more threads"):
                await offload.run(lambda: 7)
    assert await offload.run(lambda: 7) == 7
    await asyncio.wait_for(offload.close(), 5)


@pytest.mark.attack("C45")
async def test_stuck_threads_of_all_containers_are_bounded_and_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A10: each container with a file system that never answers takes a thread of the few that isod has."""
    monkeypatch.setattr(offload_module, "_DEADLINE_SEC", 0.02)
    monkeypatch.setattr(offload_module, "_STUCK_MAX", 3)
    goes_on = threading.Event()
    stuck = [Offload(f"evil{number}") for number in range(3)]
    for offload in stuck:
        with pytest.raises(UnsafePath, match="no answer"):
            await offload.run(lambda: goes_on.wait(20))
        # the same one again costs neither time nor a thread
        with pytest.raises(UnsafePath, match="no answer"):
            await offload.run(lambda: 1)
    other = Offload("blog")
    with pytest.raises(LimitExceeded, match="3 containers"):
        await other.run(lambda: 7)
    goes_on.set()
    async with asyncio.timeout(5):
        while Offload._stuck_threads:
            await asyncio.sleep(0.01)
    assert await other.run(lambda: 7) == 7
    assert await stuck[0].run(lambda: 8) == 8


@pytest.mark.attack("C45")
async def test_attempts_at_a_door_that_never_opens_share_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A10: each `isoctl run` into a container with such a /run/dbus left one more thread of isod's."""
    monkeypatch.setattr(offload_module, "_DEADLINE_SEC", 0.02)
    goes_on, walks = threading.Event(), []

    def open_socket(root_fd: int, _path: str, _machine: str) -> int:
        walks.append(root_fd)
        goes_on.wait(20)
        # it is still the root that it was, whatever was closed meanwhile
        assert os.fstat(root_fd).st_ino == root.st_ino
        return os.open("/dev/null", os.O_RDONLY)

    monkeypatch.setattr(guest_door.rootfs, "open_socket", open_socket)
    nothing: Any = None
    door = guest_door.GuestDoor(machines=nothing, units=nothing, helper=nothing)
    root = tmp_path.stat()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        root_fd = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(UnsafePath):
            await door._find_socket("evil", root_fd)
        os.close(root_fd)
    assert len(walks) == 1
    goes_on.set()
    async with asyncio.timeout(5):
        while Offload._stuck_threads:
            await asyncio.sleep(0.01)
    until_open_are(before)
