"""What is attached to a container follows sessions that come and go, and isod's own restarts."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from closed import until_closed
from core_fakes import ALICE, CAROL, until
from display_fakes import ACCOUNT, Display, restarted, running_display, until_later
from isod.core import listeners
from isod.ports import Caller
from isod_contract.errors import InvalidArgument, NoSession
from isod_contract.options import SessionInfo

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sockets of other users take root")


@pytest_asyncio.fixture
async def display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Display]:
    async with running_display(tmp_path, monkeypatch) as made:
        yield made


async def test_a_session_that_is_back_within_the_grace_finds_all_as_it_was(display: Display) -> None:
    display.register()
    await display.launch()
    before = await display.opened()
    display.sessions.forget(ALICE.sender)
    display.reconciler.policy_changed([display.container])
    await display.settle()
    assert display.answers()
    with pytest.raises(NoSession):
        await display.opened()
    display.register()
    await display.settle()
    assert await display.opened() == before
    assert display.changes == 1


async def test_while_a_session_is_away_its_mounts_stay_and_what_policy_takes_goes(display: Display) -> None:
    display.compositor()
    display.register("plain", "wayland-1")
    await display.launch()
    display.sessions.forget(ALICE.sender)
    display.reconciler.policy_changed([display.container])
    await display.settle()
    assert sorted(display.attachments) == ["wayland", "x11"]
    assert len(display.mounter.calls) == 1
    display.grant(wayland="none", x11="none")
    await until(lambda: not display.attachments)
    assert display.directories.covers == {}


async def test_a_session_that_stays_away_is_gone_with_all_that_was_its(display: Display) -> None:
    display.register()
    await display.launch()
    display.sessions.forget(ALICE.sender)
    await until_later(lambda: not display.files)
    assert set(display.activation.withdrawn) == {1000}
    assert await display.launch() == ([], "NoSession")


@pytest.mark.attack("C23")
async def test_another_connection_of_the_user_gets_no_sockets(display: Display) -> None:
    display.register()
    await display.launch()
    for other in (Caller(":1.99", 1000, "alice"), CAROL, Caller(":1.98", 0, "root")):
        with pytest.raises(NoSession):
            await display.reconciler.open(display.container, other)


async def test_the_newest_session_of_a_user_wins_and_the_older_ones_end_does_not_matter(display: Display) -> None:
    display.register()
    newer = Caller(":1.50", 1000, "alice")
    display.sessions.register(newer, SessionInfo(wayland="context"))
    with pytest.raises(NoSession):
        await display.opened()
    fds = await display.reconciler.open(display.container, newer)
    assert sorted(fds) == ["wayland", "x11"]
    for fd in fds.values():
        os.close(fd)
    display.sessions.forget(ALICE.sender)
    assert display.sessions.find(1000) is not None
    display.sessions.forget(newer.sender)


async def test_attachments_are_told_to_their_user_and_to_root_alone(display: Display) -> None:
    display.register("context", exposed=("zwlr_layer_shell_v1",))
    await display.launch()
    told = display.reconciler.attachments(display.container, ALICE)
    assert {"resource": "wayland", "uid": "1000"}.items() <= told[0].items()
    assert told[0]["exposed"] == "zwlr_layer_shell_v1"
    assert display.reconciler.attachments(display.container, CAROL) == []
    assert len(display.reconciler.attachments(display.container, Caller(":1.9", 0, "root"))) == 2
    display.container.guest = None
    assert display.reconciler.attachments(display.container, ALICE) == []


# -- isod anew


async def test_after_a_restart_of_isod_the_same_sockets_are_listened_on(display: Display, tmp_path: Path) -> None:
    display.register()
    await display.launch()
    before = await display.opened()
    again = restarted(display, tmp_path)
    assert again.reconciler.sockets_held() == 2
    again.register()
    assert await again.opened() == before
    assert again.answers()
    await again.end()
    assert again.files == []


async def test_what_nobody_comes_back_to_after_a_restart_is_let_go(
    display: Display, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    display.register()
    await display.launch()
    monkeypatch.setattr(listeners, "GRACE_SEC", 0.01)
    again = restarted(display, tmp_path)
    await until_later(lambda: not again.reconciler.sockets_held())
    assert again.files == []


async def test_a_launch_before_the_session_is_back_takes_nothing_down(display: Display, tmp_path: Path) -> None:
    display.register()
    await display.launch()
    before = await display.opened()
    again = restarted(display, tmp_path)
    again.register()
    again.sessions.forget(ALICE.sender)
    await again.reconciler._round(again.container, again.guest, ALICE, ACCOUNT)
    assert again.answers()
    again.register()
    assert await again.opened() == before
    await again.end()


# -- what a session says


@pytest.mark.parametrize("kind", ["no O_PATH", "a file", "somebody else's"])
async def test_a_socket_that_is_not_the_users_own_is_refused_and_closed(
    display: Display, tmp_path: Path, kind: str
) -> None:
    display.compositor()
    path = tmp_path / "wayland-1"
    match kind:
        case "no O_PATH":
            reader, writer = os.pipe()
            os.close(writer)
            fd = reader
        case "a file":
            (tmp_path / "file").write_text("")
            os.chown(tmp_path / "file", 1000, 1000)
            fd = os.open(tmp_path / "file", os.O_PATH)
        case _:
            os.chown(path, 1001, 1001)
            fd = os.open(path, os.O_PATH)
    with pytest.raises(InvalidArgument, match="socket"):
        display.sessions.register(ALICE, SessionInfo(wayland="plain", socket=fd, socket_name="wayland-1"))
    assert display.sessions.find(1000) is None
    until_closed(fd)


async def test_a_socket_comes_with_its_name_or_neither_comes(display: Display) -> None:
    display.compositor()
    fd = os.open(display.path / "wayland-1", os.O_PATH)
    for values in ({"socket": fd}, {"socket_name": "wayland-1"}):
        with pytest.raises(InvalidArgument, match="socket-name"):
            display.sessions.register(ALICE, SessionInfo(wayland="plain", **values))
