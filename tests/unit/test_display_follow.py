"""isod-session follows the user's compositor: finds it, judges it, and has it serve containers through its restarts."""

import asyncio
import errno
import gc
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from closed import until_open_are
from fake_compositor import CONTAINED, PLAIN, FakeCompositor, compositor, event, hangs_up, offer, sends, silent
from isod_session import display as display_module
from isod_session import inotify, wayland
from isod_session.display import Display
from isod_session.wayland import Compositor

SAFE = ("wl_compositor", "xdg_wm_base")


class Session:
    """A display, and what isod would be told of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.told: list[str] = []
        self.display = Display(directory, self._changed)

    async def _changed(self) -> None:
        told = self.display.told
        self.told.append(f"{told.path.name} {told.exposure.mode}" if told else "none")

    @property
    def last(self) -> str:
        return self.told[-1] if self.told else ""

    def listen(self, name: str = "blog") -> int:
        """Give a socket as isod does; the descriptor is the receiver's."""
        path = self.directory / f"listen-{name}"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            return os.dup(listener.fileno())

    async def offered(self, name: str = "blog") -> set[str]:
        """Give what an app in a container is offered."""

        def ask() -> set[str]:
            with Compositor.connect(str(self.directory / f"listen-{name}")) as client:
                return set(client.globals)

        return await asyncio.to_thread(ask)


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(wayland, "_TIMEOUT_SEC", 0.3)
    monkeypatch.setattr(display_module, "_RETRY_FOR_SEC", 0.3)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    until_open_are(before)


@pytest_asyncio.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    made = Session(tmp_path)
    yield made
    await made.display.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wayland-1"


async def until(condition: Callable[[], Any], limit_sec: float = 20.0) -> None:
    async with asyncio.timeout(limit_sec):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("offers", "contained", "mode", "exposed"),
    [
        (PLAIN, CONTAINED, "context", ()),
        (PLAIN, (*CONTAINED, "zwlr_layer_shell_v1"), "context", ("zwlr_layer_shell_v1",)),
        (SAFE, None, "plain", ()),
        ((*SAFE, "weston_capture_v1"), None, "unsafe", ("weston_capture_v1",)),
        # A context that hides nothing is none.
        (PLAIN, PLAIN, "unsafe", ("zwlr_screencopy_manager_v1",)),
    ],
)
async def test_a_compositor_is_judged_by_what_an_app_would_be_offered(
    session: Session, path: Path, offers: Any, contained: Any, mode: str, exposed: tuple[str, ...]
) -> None:
    with compositor(path, offers=offers, contained=contained):
        session.display.begin({})
        await until(lambda: session.told)
        assert session.told == [f"wayland-1 {mode}"]
        assert session.display.told is not None
        assert session.display.told.exposure.interfaces == exposed
        await session.display.close()


async def test_without_a_compositor_it_settles_and_waits(session: Session, path: Path) -> None:
    session.display.begin({"WAYLAND_DISPLAY": "wayland-1"})
    await asyncio.wait_for(session.display.settled(), 20)
    assert session.told == []
    with compositor(path):
        await until(lambda: session.last == "wayland-1 context")
        await session.display.close()


async def test_a_containers_clients_are_served_with_restrictions(session: Session, path: Path) -> None:
    with compositor(path) as running:
        session.display.begin({})
        await until(lambda: session.told)
        await session.display.serve("blog", session.listen())
        await session.display.serve("db", session.listen("db"))
        assert running.app_ids() == ["blog", "db"]
        assert {context.texts[1] for context in running.contexts} == {"org.isoctl"}
        assert await session.offered() == set(CONTAINED)
        await session.display.close()


async def test_the_same_socket_again_is_registered_once_and_another_takes_its_place(
    session: Session, path: Path
) -> None:
    with compositor(path) as running:
        session.display.begin({})
        await until(lambda: session.told)
        fd = session.listen()
        await session.display.serve("blog", os.dup(fd))
        await session.display.serve("blog", fd)
        assert running.registered.count("blog") == 1
        first = running.contexts[-1].inode
        await session.display.serve("blog", session.listen())
        await until(lambda: running.app_ids() == ["blog"])
        assert running.contexts[-1].inode != first
        session.display.forget("blog")
        await until(lambda: running.app_ids() == [])
        session.display.forget("blog")
        await session.display.close()


@pytest.mark.parametrize("unlinks", [True, False], ids=["ended", "killed"])
async def test_the_next_compositor_gets_the_same_sockets_and_who_waited_in_them(
    session: Session, path: Path, unlinks: bool
) -> None:
    with compositor(path) as first:
        session.display.begin({})
        await until(lambda: session.told)
        await session.display.serve("blog", session.listen())
        inode = first.contexts[-1].inode
        first.stop(unlinks=unlinks)
        await until(lambda: session.display.served is None)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(str(session.directory / "listen-blog"))
            with compositor(path) as second:
                await until(lambda: second.app_ids() == ["blog"])
                (context,) = [context for context in second.contexts if context.app_id == "blog"]
                assert context.inode == inode
                await until(lambda: any(client.contained for client in second._clients))
                assert await session.offered() == set(CONTAINED)
                assert "none" not in session.told
                await session.display.close()


async def test_ten_restarts_leave_one_context_and_no_descriptor(session: Session, path: Path) -> None:
    session.display.begin({})
    await session.display.settled()
    for number in range(10):
        with compositor(path) as running:
            await until(lambda: session.display.served is not None)
            if number == 0:
                await session.display.serve("blog", session.listen())
            await until(lambda: running.app_ids() == ["blog"])
        await until(lambda: session.display.served is None)


async def test_after_the_patience_clients_are_turned_away_and_isod_is_told(
    session: Session, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display_module, "PATIENCE_SEC", 0.2)
    with compositor(path):
        session.display.begin({})
        await until(lambda: session.told)
        await session.display.serve("blog", session.listen())
    await until(lambda: session.last == "none")
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(session.directory / "listen-blog"))
    with compositor(path):
        await until(lambda: session.last == "wayland-1 context")
        await session.display.close()
    assert session.told == ["wayland-1 context", "none", "wayland-1 context"]


@pytest.mark.parametrize("trouble", ["busy directory", "socket that never answers", "socket that hangs up"])
async def test_nothing_makes_the_patience_longer(
    session: Session, path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(display_module, "PATIENCE_SEC", 0.5)
    monkeypatch.setattr(display_module, "_RETRY_FOR_SEC", 60.0)
    with compositor(path):
        session.display.begin({})
        await until(lambda: session.told)
        await session.display.serve("blog", session.listen())
    raw = silent if trouble == "socket that never answers" else hangs_up

    async def make_files() -> None:
        for number in range(10_000):
            (session.directory / f"file-{number % 7}").write_text("")
            (session.directory / f"file-{number % 7}").unlink()
            await asyncio.sleep(0.02)

    making = asyncio.create_task(make_files())
    if trouble == "busy directory":
        await until(lambda: session.last == "none", 10)
    else:
        with compositor(path, raw=raw):
            await until(lambda: session.last == "none", 10)
            await session.display.close()
    making.cancel()


async def test_one_that_never_answers_does_not_hide_one_that_does(session: Session, path: Path) -> None:
    with compositor(path), compositor(path.with_name("wayland-2"), raw=silent):
        session.display.begin({"WAYLAND_DISPLAY": "wayland-2"})
        await until(lambda: session.last == "wayland-1 context")
        await session.display.close()


@pytest.mark.parametrize("data", [b"garbage" * 100, event(2, 0, b"ab"), event(2, 0), bytes(16)])
async def test_one_that_sends_garbage_ends_nothing(session: Session, path: Path, data: bytes) -> None:
    with compositor(path, raw=sends(data)) as running:
        session.display.begin({})
        await asyncio.wait_for(session.display.settled(), 20)
        await until(lambda: running.connections > 1)
    with compositor(path):
        await until(lambda: session.last == "wayland-1 context")
        await session.display.close()


async def test_one_that_answers_and_leaves_again_and_again_keeps_nobody_busy(session: Session, path: Path) -> None:
    answer = sends(offer(1, "wl_compositor") + event(3, 0, bytes(4)))
    with compositor(path, raw=lambda client: answer(client) and False) as running:
        session.display.begin({})
        await until(lambda: len(session.told) > 2)
        began, told = time.monotonic(), len(session.told)
        await asyncio.sleep(0.5)
        assert len(session.told) - told <= (time.monotonic() - began) / 0.05 + 1
        assert running.connections < 200
        await session.display.close()


async def test_what_the_session_names_comes_first_then_the_newest(session: Session, path: Path) -> None:
    other = path.with_name("wayland-2")
    with compositor(path), compositor(other):
        os.utime(path, (1, 1))
        session.display.begin({})
        await until(lambda: session.last == "wayland-2 context")
        assert session.display.environment_changed({"WAYLAND_DISPLAY": str(path)})
        session.display.reconsider()
        await until(lambda: session.last == "wayland-1 context")
        assert session.display.environment_changed({"WAYLAND_DISPLAY": "wayland-2"})
        assert not session.display.environment_changed({"WAYLAND_DISPLAY": "wayland-2"})
        session.display.reconsider()
        await until(lambda: session.last == "wayland-2 context")
        await session.display.choose(path)
        assert session.last == "wayland-1 context"
        await session.display.close()


async def test_what_is_no_socket_of_the_users_is_not_connected_to(session: Session, path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a socket of another user takes root")
    path.with_name("wayland-0").symlink_to(path)
    path.with_name("wayland-3.lock").write_text("")
    with compositor(path) as running:
        os.chown(path, 4242, 4242)
        session.display.begin({})
        await asyncio.wait_for(session.display.settled(), 20)
        await asyncio.sleep(0.1)
        assert running.connections == 0
        await session.display.close()


@pytest.mark.parametrize("meanwhile", ["forget", "another socket", "compositor gone"])
async def test_what_changes_while_a_context_is_registered_leaves_no_context(
    session: Session, path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """A withdrawn grant must not live on because the compositor was slow."""
    real, asked, go_on = display_module.register, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> int:
        result = real(*arguments)
        asked.set()
        assert go_on.wait(20)
        return result

    monkeypatch.setattr(display_module, "register", slow)
    with compositor(path) as running:
        session.display.begin({})
        await until(lambda: session.told)
        serving = [asyncio.create_task(session.display.serve("blog", session.listen()))]
        await until(asked.is_set)
        monkeypatch.setattr(display_module, "register", real)
        match meanwhile:
            case "forget":
                session.display.forget("blog")
            case "another socket":
                serving.append(asyncio.create_task(session.display.serve("blog", session.listen())))
                await asyncio.sleep(0.05)
            case _:
                running.stop()
                await until(lambda: session.display.served is None)
        go_on.set()
        await asyncio.gather(*serving)
        if meanwhile == "forget":
            await until(lambda: running.app_ids() == [])
        elif meanwhile == "another socket":
            await until(lambda: running.app_ids() == ["blog"])
            assert await session.offered() == set(CONTAINED)
    if meanwhile == "compositor gone":
        with compositor(path) as second:
            await until(lambda: second.app_ids() == ["blog"])
            await session.display.close()


async def test_a_container_that_is_refused_hurts_no_other(session: Session, path: Path) -> None:
    with compositor(path) as running:
        running.refuses.add("blog")
        session.display.begin({})
        await until(lambda: session.told)
        await session.display.serve("blog", session.listen())
        await session.display.serve("db", session.listen("db"))
        assert running.app_ids() == ["db"]
        running.refuses.clear()
        await session.display.serve("blog", session.listen())
        assert running.app_ids() == ["blog", "db"]
        await session.display.close()


async def test_where_the_directory_can_not_be_watched_it_is_looked_at(
    session: Session, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user has 128 inotify instances, and a desktop uses them up."""

    def no_more(_directory: str) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(inotify, "_watch", no_more)
    monkeypatch.setattr(inotify, "_LOOK_SEC", 0.05)
    session.display.begin({})
    await session.display.settled()
    with compositor(path):
        await until(lambda: session.last == "wayland-1 context")
        await session.display.close()


async def test_a_runtime_directory_that_can_not_be_written_ends_nothing(session: Session, path: Path) -> None:
    """The socket for looking at a context is made there."""
    (session.directory / "isoctl").write_text("")
    with compositor(path):
        session.display.begin({})
        await asyncio.wait_for(session.display.settled(), 20)
        await asyncio.sleep(0.1)
        (session.directory / "isoctl").unlink()
        (session.directory / "poke").write_text("")
        await until(lambda: session.last == "wayland-1 context")
        await session.display.close()


def test_a_stand_in_ends(path: Path) -> None:
    running = FakeCompositor(path)
    running.stop()
    running.stop()
