"""isod-session as a client of a compositor: what it learns, registers, and puts up with."""

import gc
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from closed import until_open_are
from fake_compositor import (
    CONTAINED,
    PLAIN,
    Client,
    compositor,
    event,
    hangs_up,
    keeps_sending,
    offer,
    sends,
    silent,
    text,
)
from isod_session import wayland
from isod_session.wayland import CONTEXT_MANAGER, Compositor, WaylandError, contained_versions

HANG_SEC = 10.0  # far beyond the deadline: only what never ends takes so long


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a deadline that tests can wait for, and no descriptor left at the end."""
    monkeypatch.setattr(wayland, "_TIMEOUT_SEC", 0.5)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    until_open_are(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wayland-1"


def test_it_learns_what_is_offered(path: Path) -> None:
    with compositor(path), Compositor.connect(str(path)) as client:
        assert set(client.globals) == {*PLAIN, CONTEXT_MANAGER}


def test_a_context_offers_less_and_the_probe_leaves_nothing(path: Path, tmp_path: Path) -> None:
    with compositor(path) as running:
        with Compositor.connect(str(path)) as client:
            assert contained_versions(client, str(tmp_path / "probe"), "org.isoctl") == dict.fromkeys(CONTAINED, 1)
        with Compositor.connect(str(path)):
            assert not running.contexts
    assert os.listdir(tmp_path) == []


def test_a_context_says_whose_it_is_and_lives_until_its_pipe_is_closed(path: Path, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    with compositor(path) as running, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(inside))
        listener.listen()
        close_read, close_write = os.pipe()
        with Compositor.connect(str(path)) as client:
            client.register_context(listener.fileno(), close_read, "org.isoctl", "blog", "blög")
        os.close(close_read)
        (context,) = running.contexts
        assert context.texts == {1: "org.isoctl", 2: "blog", 3: "blög"}
        with Compositor.connect(str(inside)) as client:
            assert set(client.globals) == set(CONTAINED)
        os.close(close_write)
        with Compositor.connect(str(path)):
            assert not running.contexts


def test_a_refusal_is_told_in_the_compositors_words(path: Path, tmp_path: Path) -> None:
    with compositor(path) as running, socket.socket(socket.AF_UNIX) as listener:
        running.refuses.add("blog")
        listener.bind(str(tmp_path / "inside"))
        reader, writer = os.pipe()
        with (
            Compositor.connect(str(path)) as client,
            pytest.raises(WaylandError, match=r"^the compositor refused \(3\): no$"),
        ):
            client.register_context(listener.fileno(), reader, "org.isoctl", "blog", "blog")
        os.close(reader)
        os.close(writer)


def test_a_compositor_without_contexts_is_told_as_such(path: Path) -> None:
    with (
        compositor(path, contained=None),
        Compositor.connect(str(path)) as client,
        pytest.raises(WaylandError, match=f"no {CONTEXT_MANAGER}"),
    ):
        client.register_context(0, 0, "org.isoctl", "blog", "blog")


@pytest.mark.parametrize(
    "raw",
    [
        silent,
        hangs_up,
        sends(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        sends(random.Random(4).randbytes(4096)),
        sends(bytes(4096)),
        sends(b"\xff" * 100_000),
        sends(event(2, 0)),
        sends(event(2, 0, b"abc")),
        sends(event(1, 0)),
        sends(event(1, 0, struct.pack("=III", 1, 2, 0xFFFFFFFF) + b"x")),
        sends(struct.pack("=II", 2, 4 << 16)),
        sends(event(2, 0, struct.pack("=II", 1, 0xFFFFFFFF) + b"\xff\xfe")),
        keeps_sending(b"\0", 0.1),
        keeps_sending(offer(1, "wl_shm"), 0.05),
        keeps_sending(offer(1, "wl_shm") * 1000, 0),
        keeps_sending(b"\xff", 0),
    ],
)
def test_whatever_it_answers_there_is_an_end_and_an_error(path: Path, raw: Callable[[Client], bool]) -> None:
    began = time.monotonic()
    with compositor(path, raw=raw), pytest.raises(WaylandError) as caught:
        Compositor.connect(str(path))
    assert str(caught.value).isprintable()
    assert time.monotonic() - began < HANG_SEC


def test_a_text_that_is_none_is_no_harm(path: Path) -> None:
    odd = event(2, 0, struct.pack("=II", 1, 3) + b"\xff\xfe\0\0" + bytes(4))
    done = event(3, 0, bytes(4))
    sent = sends(odd + offer(2, "wl_shm") + event(77, 5, b"xxxx") + done)
    with compositor(path, raw=sent), Compositor.connect(str(path)) as client:
        assert "wl_shm" in client.globals


def test_offers_are_bounded_and_what_was_not_looked_at_is_not_taken_for_harmless(path: Path) -> None:
    many = b"".join(offer(number, f"interface_{number}") for number in range(3000))
    with (
        compositor(path, raw=keeps_sending(many + event(3, 0, bytes(4)), 1)),
        pytest.raises(WaylandError, match="more than 1024 interfaces"),
    ):
        Compositor.connect(str(path))


@pytest.mark.parametrize("kind", ["absent", "file", "directory", "nobody listens", "too long", "datagrams"])
def test_what_is_no_compositor_is_told_by_its_path(path: Path, kind: str) -> None:
    match kind:
        case "file":
            path.write_text("")
        case "directory":
            path.mkdir()
        case "nobody listens":
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(path))
        case "too long":
            path = path.parent / ("x" * 200)
        case "datagrams":
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
                left.bind(str(path))
    with pytest.raises(WaylandError, match=path.name):
        Compositor.connect(str(path))


def test_a_full_backlog_is_not_waited_for(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        waiting = []
        with pytest.raises(BlockingIOError):  # noqa: PT012 - as many as it takes
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(path))
        with pytest.raises(WaylandError):
            Compositor.connect(str(path))
        for client in waiting:
            client.close()


def test_a_flood_of_events_is_thrown_away_in_turns(path: Path) -> None:
    """Else one compositor that does not stop talking keeps isod-session from everything else."""
    with compositor(path) as running:
        client = Compositor.connect(str(path))
        (served,) = running._clients
        keeps_sending(event(9, 9, text("x")) * 500, 0)(served)
        began = time.monotonic()
        assert client.skip_events()
        assert time.monotonic() - began < HANG_SEC
        client.close()


def test_the_end_of_a_compositor_is_seen(path: Path) -> None:
    with compositor(path) as running:
        client = Compositor.connect(str(path))
        assert client.skip_events()
        running.stop()
        assert not client.skip_events()
        client.close()
