"""The host's own X server for containers whose policy says so: found by the session, mounted and revoked by isod."""

import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from closed import until_closed
from core_fakes import ALICE
from display_fakes import ACCOUNT, X11, Display, running_display
from isod.core.environment import display_variables
from isod.resources.x11 import authority
from isod_contract.errors import InvalidArgument
from isod_contract.options import SessionInfo
from isod_session.xhost import XServer

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="sockets of another user take root")
COOKIE = bytes(range(16))


def entry(number: bytes, cookie: bytes, name: bytes = b"MIT-MAGIC-COOKIE-1", family: int = 256) -> bytes:
    """Give one entry of an X authority file."""
    fields = (b"host", number, name, cookie)
    return struct.pack(">H", family) + b"".join(struct.pack(">H", len(item)) + item for item in fields)


@pytest.fixture
def sockets(tmp_path: Path) -> Path:
    """The directory of X servers, with two sockets of this user's, the newer one of :1."""
    directory = tmp_path / "x11"
    directory.mkdir()
    for number, time in ((0, 1), (1, 2)):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(directory / f"X{number}"))
        os.utime(directory / f"X{number}", (time, time))
    (directory / "X2").write_text("")
    return directory


def find(sockets: Path, runtime: Path, **environment: str) -> XServer | None:
    return XServer.find({"HOME": "/nowhere", **environment}, runtime, sockets)


@pytest.mark.parametrize(
    ("display", "name"),
    [(":0", "X0"), ("unix:0.0", "X0"), ("", "X1"), (":2", "X1"), (":7", "X1"), ("host:0", "X1"), ("/run/x", "X1")],
)
def test_the_server_that_display_names_else_the_newest_of_ones_own(
    sockets: Path, tmp_path: Path, display: str, name: str
) -> None:
    found = find(sockets, tmp_path, DISPLAY=display)
    assert found is not None
    assert found.name == name
    fd = found.open(sockets)
    assert os.path.samestat(os.fstat(fd), (sockets / name).lstat())
    os.close(fd)
    (sockets / name).unlink()
    with pytest.raises(OSError, match=name):
        found.open(sockets)


def test_without_any_server_there_is_none(tmp_path: Path) -> None:
    assert find(tmp_path / "nothing", tmp_path) is None
    assert find(tmp_path, tmp_path, DISPLAY=":0") is None


@pytest.mark.parametrize("where", ["xauthority", "mutter", "kde"])
def test_the_cookie_is_found_as_desktops_keep_it(sockets: Path, tmp_path: Path, where: str) -> None:
    """I-41: GNOME and KDE keep it in the runtime directory, under another name each login, and may not say so."""
    name = {"xauthority": "my-file", "mutter": ".mutter-Xwaylandauth.AB12", "kde": "xauth_XYZ"}[where]
    others = entry(b"7", b"x" * 16) + entry(b"0", b"y" * 16, b"XDM-AUTHORIZATION-1")
    (tmp_path / name).write_bytes(others + entry(b"0", COOKIE) + entry(b"0", b"z" * 16))
    environment = {"XAUTHORITY": str(tmp_path / name)} if where == "xauthority" else {}
    found = find(sockets, tmp_path, DISPLAY=":0", **environment)
    assert found is not None
    assert found.cookie == COOKIE
    other = find(sockets, tmp_path, DISPLAY=":1", **environment)
    assert other is not None
    assert other.cookie == b""


@pytest.mark.parametrize("data", [b"", b"\x01", entry(b"0", COOKIE)[:-4], b"\xff" * 100, entry(b"0", b"")])
def test_what_is_no_authority_file_gives_no_cookie_and_ends_nothing(sockets: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "xauth_1").write_bytes(data)
    found = find(sockets, tmp_path, DISPLAY=":0")
    assert found is not None
    assert found.cookie in (b"", COOKIE[:12])


@pytest_asyncio.fixture
async def display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Display]:
    async with running_display(tmp_path, monkeypatch) as made:
        made.compositor()
        yield made


def session(display: Display, *, cookie: bytes = b"", **more: Any) -> None:
    display.compositor("X0")
    fd = os.open(display.path / "X0", os.O_PATH)
    display.register("context", x11_socket=fd, x11_socket_name="X0", x11_cookie=cookie or None, **more)


@needs_root
async def test_it_is_mounted_with_its_cookie_and_goes_with_the_grant(display: Display) -> None:
    session(display, cookie=COOKIE)
    display.grant(x11="host")
    assert await display.launch() == (["wayland", "x11"], "")
    assert "attach 1000/X X0" in display.mounter.calls
    assert (display.path / "run/1000/Xauthority").read_bytes() == authority(COOKIE)
    attached, _ = await display.reconciler.for_launch(display.container, display.guest, ALICE, ACCOUNT)
    assert display_variables(attached, 1000)["XAUTHORITY"] == "/run/isoctl/1000/Xauthority"
    (shown,) = [item for item in display.reconciler.attachments(display.container, ALICE) if item["resource"] == "x11"]
    assert "all keys and windows" in shown["exposed"]
    assert "x11" not in await display.opened()
    display.grant(x11="isolated")
    await display.settle()
    assert await display.launch() == (["wayland", "x11"], "")
    assert "1000/Xauthority" not in display.files
    assert "x11" in await display.opened()


@needs_root
async def test_another_server_takes_its_place_and_none_is_stacked(display: Display) -> None:
    session(display)
    display.grant(x11="host")
    await display.launch()
    assert "1000/Xauthority" not in display.files
    session(display, cookie=COOKIE)
    await display.settle()
    await display.launch()
    calls = [call for call in display.mounter.calls if "1000/X" in call]
    assert calls == ["attach 1000/X X0", "detach 1000/X", "attach 1000/X X0"]
    assert "1000/Xauthority" in display.files


@needs_root
@pytest.mark.parametrize(
    ("shift", "cookie", "expected"),
    [
        (0, b"", (["wayland", "x11"], "")),
        (7000, b"", (["wayland"], "Unsupported")),
        (7000, COOKIE, (["wayland", "x11"], "")),
    ],
)
async def test_a_server_that_goes_by_uid_alone_lets_nobody_in_from_a_user_namespace(
    display: Display, shift: int, cookie: bytes, expected: tuple[list[str], str]
) -> None:
    display.guest.uid_shift = shift
    session(display, cookie=cookie)
    display.grant(x11="host")
    assert await display.launch() == expected


@needs_root
async def test_only_a_socket_of_the_user_or_of_root_is_taken(display: Display) -> None:
    (display.path / "file").write_text("")
    display.compositor("X5")
    os.chown(display.path / "X5", 4711, 4711)
    for name in ("file", "X5"):
        fd = os.open(display.path / name, os.O_PATH)
        with pytest.raises(InvalidArgument):
            display.sessions.register(ALICE, SessionInfo(x11_socket=fd, x11_socket_name="X5"))
        until_closed(fd)
    os.chown(display.path / "X5", 0, 0)
    fd = os.open(display.path / "X5", os.O_PATH)
    display.sessions.register(ALICE, SessionInfo(x11_socket=fd, x11_socket_name="X5"))
    assert X11 in display.sessions.find(ALICE.uid).sockets  # type: ignore[union-attr]


def test_the_authority_file_is_for_every_display() -> None:
    """Xauth(3): family wild, no address, no number."""
    data = authority(COOKIE)
    assert data[:2] == b"\xff\xff"
    assert data[2:6] == bytes(4)
    assert data.endswith(COOKIE)
    assert authority(b"") == b""
