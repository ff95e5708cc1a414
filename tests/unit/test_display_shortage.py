"""isod-session's own ways to a compositor: a connection and no file, and what happens where descriptors are short."""

import asyncio
import errno
import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from closed import until_open_are
from fake_compositor import CONTAINED, FakeCompositor, compositor
from isod_session import display as display_module
from isod_session import wayland
from isod_session.compositors import connect_privately, look_at, register
from isod_session.display import Display
from isod_session.persistence import persist
from isod_session.wayland import Compositor, WaylandError

SAFE = ("wl_compositor", "xdg_wm_base")


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(wayland, "_TIMEOUT_SEC", 0.5)
    monkeypatch.setattr(display_module, "_RETRY_FOR_SEC", 0.3)
    monkeypatch.setattr(display_module, "_LOOK_SEC", 0.1)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    until_open_are(before)


def none_left(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    return made


def until(running: FakeCompositor, app_ids: list[str]) -> None:
    for _ in range(500):
        if running.app_ids() == app_ids:
            return
        asyncio.run(asyncio.sleep(0.01))
    assert running.app_ids() == app_ids


@pytest.mark.attack("C40")
def test_a_server_for_a_container_gets_a_restricted_connection_and_no_file(tmp_path: Path) -> None:
    """A7: a file would go stale, be there for others, and have to be shown in the sandbox."""
    directory = tmp_path / "isoctl"
    directory.mkdir()
    with compositor(tmp_path / "wayland-1") as running:
        served = look_at(running.path, tmp_path)
        connection, close_fd = connect_privately(served, directory / "wayland-blog", "blog")
        assert not list(directory.iterdir())
        with Compositor(connection) as client:
            client._read_globals()
            assert set(client.globals) == set(CONTAINED)
        os.close(close_fd)
        until(running, [])
        with pytest.raises(WaylandError):
            connect_privately(served, tmp_path / "gone/wayland-blog", "blog")
        served.close()


def test_where_the_compositor_has_no_contexts_it_is_the_plain_one(tmp_path: Path) -> None:
    with compositor(tmp_path / "wayland-1", offers=SAFE, contained=None) as running:
        served = look_at(running.path, tmp_path)
        connection, close_fd = connect_privately(served, tmp_path / "unused", "blog")
        assert close_fd == -1
        with Compositor(connection) as client:
            client._read_globals()
            assert set(client.globals) == set(SAFE)
        served.close()


def test_a_context_for_which_no_pipe_can_be_made_leaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B7."""
    with listening(tmp_path / "X") as listener:
        monkeypatch.setattr(os, "pipe2", none_left)
        with pytest.raises(OSError, match="Too many open files"):
            register(tmp_path / "wayland-1", os.dup(listener.fileno()), "blog")


async def test_containers_are_served_again_once_there_are_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A14, B7: one EMFILE ended the loop in silence, and no container had a display until a restart."""
    changes: list[None] = []

    async def changed() -> None:
        changes.append(None)

    display = Display(tmp_path, changed)
    caplog.set_level("INFO")
    with compositor(tmp_path / "wayland-1") as running, listening(tmp_path / "X") as listener:
        display.begin({})
        async with asyncio.timeout(10):
            while not changes:
                await asyncio.sleep(0.01)
        with monkeypatch.context() as shortage:
            shortage.setattr(os, "pipe2", none_left)
            with pytest.raises(OSError, match="Too many open files"):
                await display.serve("blog", os.dup(listener.fileno()))
            # the compositor that comes next meets the same
            display.reconsider()
            await asyncio.sleep(0.8)
        assert "no compositor: " in caplog.text
        assert "Too many open files" in caplog.text
        async with asyncio.timeout(10):
            while running.app_ids() != ["blog"]:
                await asyncio.sleep(0.01)
        await display.close()


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "no"), RuntimeError("can't start new thread")])
async def test_no_shortage_ends_a_loop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr("isod_session.persistence.RETRY_SEC", 0.01)
    steps: list[None] = []

    async def step() -> None:
        steps.append(None)
        if len(steps) < 4:
            raise error
        await asyncio.Event().wait()

    loop = asyncio.create_task(persist("the thing waits", step))
    async with asyncio.timeout(5):
        while len(steps) < 4:
            await asyncio.sleep(0.01)
    loop.cancel()
    # The same is told once a minute: it may last.
    assert caplog.text.count("the thing waits") == 1
