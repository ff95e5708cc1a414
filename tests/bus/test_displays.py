"""Who may register a session and fetch a display's sockets: over real buses, with the real core behind."""

import os
import pwd
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from buses import Bus
from display_fakes import Display, running_display
from isod.policy import ContainerPolicy
from isod.ports import Account
from isod_contract import limits, names
from isod_side import ALICE, BOB, ROOT, IsodSide, call, refused, running_isod_side, until
from isod_wire import Connection, Variant

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(os.getuid() != 0, reason="callers of several uids need root"),
]

CONTEXT = {"wayland": Variant("s", "context")}


@pytest_asyncio.fixture
async def display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Display]:
    async with running_display(tmp_path, monkeypatch) as made:
        users = {pwd.getpwuid(uid).pw_name: uid for uid in (ALICE, BOB)}
        made.container.policy = ContainerPolicy(users=tuple(users))
        made.guest.accounts = {name: Account(name, uid, uid, "/", "/bin/sh") for name, uid in users.items()}
        yield made
        for session in list(made.sessions._by_uid.values()):
            made.sessions.forget(session.caller.sender)


@pytest_asyncio.fixture
async def isod(bus: Bus, display: Display) -> AsyncIterator[IsodSide]:
    async with running_isod_side(bus, display.sessions) as side:
        side.containers.opens = lambda _, caller: display.reconciler.open(display.container, caller)
        yield side


async def register(client: Connection, session: dict[str, Variant], fds: tuple[int, ...] = ()) -> None:
    await call(client, "RegisterSession", "a{sv}", [session], fds=fds)


async def open_display(client: Connection, container: str = "shared") -> dict[str, tuple[int, int]]:
    """Give what is listened on, by device and inode."""
    with await client.call(
        names.BUS_NAME, names.ROOT_PATH, names.MANAGER, "OpenDisplay", "s", [container], timeout_sec=10
    ) as reply:
        found = {}
        for key, index in reply.body[0].items():
            fd = reply.fds.copy(index.value)
            found[key] = (os.fstat(fd).st_dev, os.fstat(fd).st_ino)
            with socket.socket(fileno=fd) as listener:
                assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return found


async def test_the_registered_service_gets_the_sockets_of_its_user(isod: IsodSide, display: Display) -> None:
    alice, bob = await isod.client(ALICE), await isod.client(BOB)
    await register(alice, CONTEXT)
    await register(bob, CONTEXT)
    hers, his = await open_display(alice), await open_display(bob)
    assert sorted(hers) == sorted(his) == ["wayland", "x11"]
    assert not set(hers.values()) & set(his.values())
    assert await open_display(alice) == hers
    assert display.files == sorted(f"{uid}/{name}" for uid in (ALICE, BOB) for name in ("X", "wayland-0"))


@pytest.mark.attack("C07")
async def test_nobody_else_gets_them_not_even_the_same_user_or_root(isod: IsodSide) -> None:
    """Else any program of the user's could serve the container, or listen to it."""
    await register(await isod.client(ALICE), CONTEXT)
    for uid in (ALICE, BOB, ROOT):
        name, text = await refused(await isod.client(uid), "OpenDisplay", "s", ["shared"])
        assert name == "NoSession"
        assert "RegisterSession comes first" in text


async def test_a_container_that_is_not_his_does_not_exist_for_him(isod: IsodSide) -> None:
    bob = await isod.client(BOB)
    await register(bob, CONTEXT)
    there = await refused(bob, "OpenDisplay", "s", ["blog"])
    absent = await refused(bob, "OpenDisplay", "s", ["absent"])
    assert there[0] == absent[0] == "NoSuchContainer"
    assert there[1].replace("blog", "absent") == absent[1]


@pytest.mark.attack("C23")
async def test_a_newer_session_of_the_user_takes_the_place_of_the_older(isod: IsodSide) -> None:
    first, second = await isod.client(ALICE), await isod.client(ALICE)
    await register(first, CONTEXT)
    await register(second, CONTEXT)
    assert (await refused(first, "OpenDisplay", "s", ["shared"]))[0] == "NoSession"
    assert await open_display(second)


async def test_a_service_that_left_the_bus_is_no_session_any_more(isod: IsodSide, display: Display) -> None:
    first, second = await isod.client(ALICE), await isod.client(ALICE)
    await register(first, CONTEXT)
    await open_display(first)
    await first.close()
    await until(lambda: display.sessions.find(ALICE) is None)
    assert (await refused(second, "OpenDisplay", "s", ["shared"]))[0] == "NoSession"
    await until(lambda: not display.files)


async def test_a_container_that_does_not_run_has_none(isod: IsodSide, display: Display) -> None:
    alice = await isod.client(ALICE)
    await register(alice, CONTEXT)
    display.container.guest = None
    assert (await refused(alice, "OpenDisplay", "s", ["shared"]))[0] == "ContainerGone"


@pytest.mark.attack("C23")
@pytest.mark.parametrize(
    ("session", "key"),
    [
        ({"wayland": Variant("s", "raw")}, "wayland"),
        ({"wayland": Variant("s", "")}, "wayland"),
        ({"wayland": Variant("b", True)}, "wayland"),
        ({"exposed": Variant("as", ["wl_shm"] * (limits.EXPOSED_ENTRIES_MAX + 1))}, "exposed"),
        ({"exposed": Variant("as", ["x\x1b[2J"])}, "exposed"),
        ({"exposed": Variant("as", [""])}, "exposed"),
        ({"exposed": Variant("as", ["x" * 97])}, "exposed"),
        ({"session": Variant("s", "../1")}, "session"),
        ({"environment": Variant("as", ["LANG"])}, "environment"),
        ({"environment": Variant("as", ["=x"])}, "environment"),
        ({"socket": Variant("h", 0)}, "socket"),
        ({"socket": Variant("h", 1), "socket-name": Variant("s", "wayland-1")}, "socket"),
        ({"socket-name": Variant("s", "wayland-1")}, "socket"),
        ({"colour": Variant("s", "red")}, "'colour'"),
        *(
            ({"socket-name": Variant("s", name)}, "socket-name")
            for name in ("", ".", "..", ".x", "a/b", "../wayland-1", "/run/x", "a\nb", "x" * 65, "é")
        ),
    ],
)
async def test_what_a_session_must_not_say_is_refused_by_name(
    isod: IsodSide, display: Display, session: dict[str, Variant], key: str
) -> None:
    name, text = await refused(await isod.client(ALICE), "RegisterSession", "a{sv}", [session])
    assert (name, text.split(":")[0]) == ("InvalidArgument", key)
    assert display.sessions.find(ALICE) is None


def _pipe(_path: Path) -> int:
    reader, writer = os.pipe()
    os.close(writer)
    return reader


def _connected(_path: Path) -> int:
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours.detach()


def _readable(path: Path) -> int:
    path.with_name("file").write_text("")
    return os.open(path.with_name("file"), os.O_RDONLY)


def _directory(path: Path) -> int:
    return os.open(path.parent, os.O_PATH)


def _foreign(path: Path) -> int:
    os.chown(path, BOB, BOB)
    return os.open(path, os.O_PATH)


def _roots(path: Path) -> int:
    os.chown(path, 0, 0)
    return os.open(path, os.O_PATH)


@pytest.mark.attack("C20")
@pytest.mark.parametrize("make", [_pipe, _connected, _readable, _directory, _foreign, _roots])
async def test_only_a_socket_of_the_users_own_is_taken_and_the_rest_closed(
    isod: IsodSide, display: Display, make: Callable[[Path], int], count_fds: Callable[[], int]
) -> None:
    alice = await isod.client(ALICE)
    await register(alice, CONTEXT)
    display.compositor()
    session: dict[str, Any] = {
        "wayland": Variant("s", "plain"), "socket": Variant("h", 0), "socket-name": Variant("s", "wayland-1"),
    }  # fmt: skip
    before = count_fds()
    fd = make(display.path / "wayland-1")
    name, text = await refused(alice, "RegisterSession", "a{sv}", [session], fds=(fd,))
    os.close(fd)
    assert (name, text.split(":")[0]) == ("InvalidArgument", "socket")
    assert count_fds() == before
    kept = display.sessions.find(ALICE)
    assert kept is not None
    assert kept.wayland == "context"


async def test_a_socket_of_his_own_is_taken_and_kept_as_long_as_the_session(
    isod: IsodSide, display: Display, count_fds: Callable[[], int]
) -> None:
    alice = await isod.client(ALICE)
    display.compositor()
    os.chown(display.path / "wayland-1", ALICE, ALICE)
    session = {
        "wayland": Variant("s", "plain"), "socket": Variant("h", 0), "socket-name": Variant("s", "wayland-1"),
    }  # fmt: skip
    before = count_fds()
    for _ in range(3):
        fd = os.open(display.path / "wayland-1", os.O_PATH)
        await register(alice, session, fds=(fd,))
        os.close(fd)
    assert count_fds() == before + 1
    assert [known.name for known in display.sessions.find(ALICE).sockets.values()] == ["wayland-1"]  # type: ignore[union-attr]
    await register(alice, CONTEXT)
    assert count_fds() == before
