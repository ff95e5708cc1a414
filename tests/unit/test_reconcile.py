"""What is attached to a container follows policy, step by step, and no descriptor stays behind."""

import gc
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from closed import until_open_are
from core_fakes import ALICE, until
from display_fakes import ACCOUNT, WAYLAND, X11, Display, Guest, running_display
from isod.policy import ContainerPolicy
from isod.ports import Account
from isod.resources.base import How
from isod_contract.errors import NoSession, UnsafePath, Unsupported

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sockets of other users take root")


@pytest_asyncio.fixture
async def display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Display]:
    async with running_display(tmp_path, monkeypatch) as made:
        yield made


async def test_a_compositor_with_contexts_gets_sockets_of_isods_own(display: Display) -> None:
    display.register()
    assert await display.launch() == (["wayland", "x11"], "")
    assert display.files == ["1000/X", "1000/wayland-0"]
    assert display.directories.owners["1000"] == (1000, 1000)
    assert display.answers(WAYLAND)
    assert display.answers(X11)
    assert sorted(display.records) == [("attach", "wayland"), ("attach", "x11")]
    assert sorted(await display.opened()) == ["wayland", "x11"]
    assert display.mounter.calls == []
    assert display.changes == 1


async def test_the_same_again_changes_nothing(display: Display) -> None:
    display.register()
    await display.launch()
    before = await display.opened()
    for _ in range(3):
        await display.launch()
        display.register()
        await display.settle()
    assert await display.opened() == before
    assert (display.changes, len(display.records)) == (1, 2)


async def test_a_compositor_without_contexts_is_mounted_itself(display: Display) -> None:
    display.compositor()
    display.register("plain", "wayland-1")
    assert await display.launch() == (["wayland", "x11"], "")
    assert display.mounter.calls == ["attach 1000/wayland-0 wayland-1"]
    assert sorted(await display.opened()) == ["x11"]
    await display.launch()
    assert len(display.mounter.calls) == 1


async def test_a_new_socket_of_the_compositor_takes_the_place_of_the_old_and_none_is_stacked(display: Display) -> None:
    display.compositor()
    display.register("plain", "wayland-1")
    await display.launch()
    display.compositor()
    display.register("plain", "wayland-1")
    await until(lambda: len(display.mounter.calls) == 3)
    assert display.mounter.calls[1:] == ["detach 1000/wayland-0", "attach 1000/wayland-0 wayland-1"]


async def test_another_compositor_switches_between_listening_and_mounting(display: Display) -> None:
    display.compositor()
    display.register("context", "wayland-1")
    await display.launch()
    assert display.answers()
    display.register("plain", "wayland-1")
    await until(lambda: display.mounter.calls)
    await display.settle()
    assert {record.name for record in display.listener_files.load_all()} == {"X"}
    assert sorted(await display.opened()) == ["x11"]
    assert not display.answers()
    display.register("context", "wayland-1")
    await until(lambda: len(display.mounter.calls) == 2)
    await display.settle()
    assert display.mounter.calls == ["attach 1000/wayland-0 wayland-1", "detach 1000/wayland-0"]
    assert sorted(await display.opened()) == ["wayland", "x11"]
    assert display.answers()
    assert display.directories.covers == {}


async def test_without_a_session_there_is_nothing_and_a_sentence(display: Display) -> None:
    assert await display.launch() == ([], "NoSession")
    assert display.files == []


@pytest.mark.parametrize(
    ("wayland", "grants", "expected"),
    [
        (None, {}, ([], "NoSession")),
        ("unsafe", {}, (["x11"], "NoSecurityContext")),
        ("context", {"x11": "host"}, (["wayland"], "NoSession")),
        ("context", {"wayland": "none"}, ([], "")),
        ("context", {"x11": "none"}, (["wayland"], "")),
        ("unsafe", {"wayland": "raw"}, (["wayland", "x11"], "")),
    ],
)
async def test_what_can_not_be_given_is_told(
    display: Display, wayland: str | None, grants: dict[str, str], expected: tuple[list[str], str]
) -> None:
    display.compositor()
    display.register(wayland, "wayland-1", exposed=("zwlr_screencopy_manager_v1",))
    display.grant(**grants)
    assert await display.launch() == expected


async def test_the_name_of_what_is_exposed_is_in_the_refusal(display: Display) -> None:
    display.register("unsafe", exposed=("weston_capture_v1",))
    _, problem = await display.reconciler.for_launch(display.container, display.guest, ALICE, ACCOUNT)
    assert problem is not None
    assert "weston_capture_v1" in problem.text
    assert '`wayland = "raw"`' in problem.text


async def test_a_plain_compositor_whose_socket_is_not_told_is_no_display(display: Display) -> None:
    display.register("plain")
    _, problem = await display.reconciler.for_launch(display.container, display.guest, ALICE, ACCOUNT)
    assert isinstance(problem, NoSession)
    assert "socket is not known" in problem.text
    assert display.attachments == ["x11"]


@pytest.mark.parametrize("wayland", ["context", "plain"])
async def test_a_withdrawn_grant_removes(display: Display, wayland: str) -> None:
    display.compositor()
    display.register(wayland, "wayland-1")
    await display.launch()
    display.grant(wayland="none")
    await until(lambda: not display.attachments)
    assert display.files == []
    assert display.directories.covers == {}
    assert await display.opened() == {}
    assert ("detach", "wayland") in display.records
    assert display.activation.withdrawn


async def test_a_user_whom_policy_no_longer_admits_has_nothing_there(display: Display) -> None:
    display.register()
    await display.launch()
    display.container.policy = ContainerPolicy(users=("carol",))
    display.reconciler.policy_changed([display.container])
    await until(lambda: not display.attachments)
    assert display.files == []


@pytest.mark.parametrize("change", ["grant", "user", "logout"])
async def test_what_is_withdrawn_while_the_container_is_stopped_is_not_there_when_it_starts(
    display: Display, change: str
) -> None:
    """A compositor would still accept on the socket, for whatever the container's own systemd starts."""
    display.register()
    await display.launch()
    display.container.guest = None
    match change:
        case "grant":
            display.grant(wayland="none")
        case "user":
            display.container.policy = ContainerPolicy(users=("carol",))
            display.reconciler.policy_changed([display.container])
        case "logout":
            await display.end()
    await display.settle()
    assert display.files == []
    assert display.reconciler.sockets_held() == 0


async def test_a_stopped_container_keeps_what_is_still_granted(display: Display) -> None:
    display.register()
    await display.launch()
    display.container.guest = None
    display.grant()
    assert display.answers()


# -- sockets that are made anew


async def test_a_socket_that_was_replaced_is_made_anew_and_the_session_is_told(display: Display) -> None:
    display.register()
    await display.launch()
    before, told = await display.opened(), display.changes
    place = display.path / "run/1000/wayland-0"
    place.unlink()
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(place))
        await display.launch()
    after = await display.opened()
    assert (after["x11"], after["wayland"] != before["wayland"]) == (before["x11"], True)
    assert display.changes == told + 1
    assert display.answers()


async def test_another_range_of_uids_after_a_restart_makes_new_sockets(display: Display) -> None:
    display.register()
    await display.launch()
    before, told = await display.opened(), display.changes
    display.guest = display.container.guest = Guest(uid_shift=524288)
    await display.launch()
    after = await display.opened()
    assert display.directories.owners["1000"] == display.directories.owners["1000/wayland-0"] == (525288, 525288)
    assert not set(before.values()) & set(after.values())
    assert display.changes == told + 1


async def test_with_a_user_namespace_a_mount_needs_the_same_uid_inside(display: Display) -> None:
    display.compositor()
    display.register("plain", "wayland-1")
    display.guest = display.container.guest = Guest(uid_shift=524288)
    display.guest.accounts["alice"] = Account("alice", 1001, 1001, "/home/alice", "/bin/sh")
    account = display.guest.accounts["alice"]
    attached, problem = await display.reconciler.for_launch(display.container, display.guest, ALICE, account)
    assert isinstance(problem, Unsupported)
    assert "'alice' must have uid 1000 inside" in problem.text
    assert list(attached) == ["x11"]
    assert display.mounter.calls == []


@pytest.mark.parametrize("how", [How.LISTEN, How.MOUNT])
async def test_what_failed_is_not_said_to_be_attached(display: Display, how: How) -> None:
    display.compositor()
    display.register("context" if how is How.LISTEN else "plain", "wayland-1")
    await display.launch()
    if how is How.LISTEN:
        (display.path / "run/1000/wayland-0").unlink()
        display.directories.fault = UnsafePath(path="/x", container="blog", reason="a directory is in the way")
    else:
        display.compositor()
        display.register("plain", "wayland-1")
        display.mounter.fault = OSError(22, "Invalid argument")
    if how is How.LISTEN:
        with pytest.raises(UnsafePath):
            await display.launch()
    else:
        assert await display.launch() == (["x11"], "Unsupported")
    assert display.attachments == ["x11"]
    display.directories.fault = display.mounter.fault = None
    assert await display.launch() == (["wayland", "x11"], "")


# -- containers whose unit is untouched


async def test_a_container_without_a_static_bind_is_shown_its_directory(display: Display) -> None:
    display.directories.made = display.directories.bound = False
    display.register()
    assert await display.launch() == (["wayland", "x11"], "")
    await display.launch()
    assert display.units.started == ["isod-prepare@blog.service"]
    assert display.mounter.calls == ["directory"]


async def test_a_directory_that_can_not_be_made_or_shown_is_told(display: Display) -> None:
    display.directories.made = display.directories.bound = display.units.works = False
    display.register()
    with pytest.raises(Unsupported, match=r"systemctl status isod-prepare@blog\.service"):
        await display.launch()
    display.units.works = True
    display.mounter.fault = OSError(1, "Operation not permitted")
    with pytest.raises(Unsupported, match="can't be mounted in container blog"):
        await display.launch()
    display.mounter.fault = None
    assert await display.launch() == (["wayland", "x11"], "")


async def test_a_hostile_place_inside_costs_no_descriptor(display: Display) -> None:
    display.register()
    display.directories.seen_fault = UnsafePath(path="/run/isoctl", container="blog", reason="a symbolic link")
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(UnsafePath):
            await display.launch()
    until_open_are(before)
