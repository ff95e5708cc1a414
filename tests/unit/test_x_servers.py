"""X servers of containers whose grant goes away while one is being started: nothing of it may be left."""

import asyncio
import contextlib
import gc
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isod_session.wayland import WaylandError
from isod_session.x11 import XServers
from isod_wire import WireError


class Bus:
    """A session bus with a user manager that has no unit yet."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def call(self, _name: str, _path: str, _interface: str, member: str, *_: Any, **__: Any) -> Any:
        self.calls.append(member)
        if member == "GetUnit":
            raise WireError("no such unit")
        return contextlib.nullcontext(SimpleNamespace(body=["/job"]))

    async def add_match(self, *_: Any) -> Any:
        return SimpleNamespace(remove=lambda: None)


class Compositors:
    """One that takes its time."""

    def __init__(self) -> None:
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()
        self.reader = -1
        self.fails = False

    async def open_private(self, _container: str, path: Path) -> tuple[Path, int]:
        self.asked.set()
        await self.go_on.wait()
        if self.fails:
            raise WaylandError("it left")
        self.reader, writer = os.pipe()
        return path, writer


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("anew", [False, True], ids=["withdrawn", "another socket"])
async def test_a_start_that_is_overtaken_starts_nothing_and_leaves_nothing(
    tmp_path: Path, fails: bool, anew: bool
) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    bus, compositors = Bus(), Compositors()
    compositors.fails = fails
    servers = XServers(bus, tmp_path, compositors, "/isod-xserver")  # type: ignore[arg-type]
    listeners = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for number, listener in enumerate(listeners):
        listener.bind(str(tmp_path / f"X{number}"))
        listener.listen()
    await servers.serve("blog", os.dup(listeners[0].fileno()))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "X0"))
        await asyncio.wait_for(compositors.asked.wait(), 5)
        if anew:
            await servers.serve("blog", os.dup(listeners[1].fileno()))
        else:
            await servers.forget("blog")
        compositors.go_on.set()
        await asyncio.gather(*servers._tasks)
    assert "StartTransientUnit" not in bus.calls
    if compositors.reader >= 0:
        assert os.read(compositors.reader, 1) == b""  # what leads to the compositor has been closed
        os.close(compositors.reader)
    await servers.close()
    for listener in listeners:
        listener.close()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
