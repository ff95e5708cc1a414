"""Devices of a container follow policy and what is plugged in, step by step, and leave alone what is not isod's."""

import asyncio
import json
from pathlib import Path

import pytest

from device_fakes import ADMINS, UNIT, World, card, key
from isod.core import devices
from isod.core.device_records import RunTimeGrant
from isod.device_ports import Device, UnmetDevices
from isod_contract.errors import Unsupported

RENDER = {"gpu": "render"}
KEYS = {"devices": ["SUBSYSTEM=hidraw ID_VENDOR_ID=1050"]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_granted_device_is_allowed_and_seen_and_recorded(world: World) -> None:
    await world.run(**RENDER)
    assert (world.seen, world.ours, world.followed) == ([], [], {"drm"})
    await world.plug(card())
    assert (world.seen, world.ours) == (["/dev/dri/renderD128"], ["/dev/char/226:128 rw"])
    assert world.records == [("attach", "/dev/dri/renderD128")]
    told = {"resource": "gpu", "what": "/dev/dri/renderD128 (226:128, PCI 0000:00:02.0)"}
    assert world.devices.attachments(world.container) == [told]
    await world.plug()
    assert (world.seen, world.ours) == ([], [])
    assert world.records[1:] == [("detach", "/dev/dri/renderD128")]
    assert world.allowed == list(ADMINS)


async def test_the_same_again_does_nothing(world: World) -> None:
    await world.run(**RENDER, **KEYS)
    await world.plug(card(), key())
    done, told = list(world.calls), list(world.changes)
    for _ in range(3):
        await world.plug(card(), key())
    assert (world.calls, world.changes) == (done, told)


async def test_without_a_grant_nothing_is_touched(world: World) -> None:
    await world.run()
    await world.plug(card(), key())
    assert (world.seen, world.ours, world.calls, world.followed) == ([], [], [], frozenset())


async def test_a_device_outside_of_dri_is_mounted_singly(world: World) -> None:
    await world.run(**KEYS)
    await world.plug(card(), key())
    assert (world.seen, world.ours) == (["/dev/hidraw0"], ["/dev/char/245:7 rw"])
    assert "prepare" in world.calls
    await world.plug()
    assert (world.mounts, world.tmpfs, world.ours) == ({}, {}, [])


async def test_a_container_without_a_static_bind_is_shown_its_directory_once(world: World) -> None:
    world.dri_shown = False
    await world.run(**RENDER)
    await world.plug(card())
    await world.plug(card(), card("renderD129", 129, "0000:01:00.0"))
    assert world.calls.count("show dri") == 1
    assert len(world.seen) == 2


async def test_the_hosts_own_directory_inside_needs_no_node(world: World) -> None:
    """The hand-written recipe binds /dev/dri: what is there already is only allowed."""
    world.mounts["/dev/dri/renderD128"] = "226:128"
    await world.run(**RENDER)
    world.mounts["/dev/dri/renderD128"] = "226:128"
    await world.plug(card())
    assert world.ours == ["/dev/char/226:128 rw"]
    assert world.tmpfs == {}


async def test_another_number_under_a_name_makes_the_node_anew(world: World) -> None:
    await world.run(**RENDER, **KEYS)
    await world.plug(card(), key())
    await world.plug(card(minor=131), key(9))
    assert world.ours == ["/dev/char/226:131 rw", "/dev/char/245:9 rw"]
    assert world.tmpfs == {("dri", "renderD128"): "226:131", ("node", "hidraw0"): "245:9"}
    assert world.mounts == {"/dev/hidraw0": "245:9"}


async def test_what_root_inside_put_there_is_replaced(world: World) -> None:
    world.tmpfs = {("dri", "renderD128"): "", ("dri", "card0"): "226:0"}
    await world.run(**RENDER)
    await world.plug(card())
    assert world.tmpfs == {("dri", "renderD128"): "226:128"}


# -- DeviceAllow


async def test_the_administrators_entries_stay_whatever_comes_and_goes(world: World) -> None:
    world.allowed.append(("/dev/char/226:129", "rw"))
    await world.run(**RENDER)
    await world.plug(card(), card("renderD129", 129))
    assert world.allowed.count(("/dev/char/226:129", "rw")) == 1
    await world.plug()
    assert world.allowed == [*ADMINS, ("/dev/char/226:129", "rw")]


async def test_an_entry_that_somebody_widened_is_put_right(world: World) -> None:
    await world.run(**RENDER)
    await world.plug(card())
    world.allowed[:] = [*ADMINS, ("/dev/char/226:128", "rwm")]
    await world.plug(card())
    assert world.ours == ["/dev/char/226:128 rw"]


async def test_an_entry_that_somebody_took_away_comes_back(world: World) -> None:
    await world.run(**RENDER)
    await world.plug(card())
    world.allowed[:] = list(ADMINS)
    await world.plug(card())
    assert world.ours == ["/dev/char/226:128 rw"]


async def test_a_unit_that_may_open_all_devices_gets_no_entry(world: World) -> None:
    """One would take all others away from it."""
    world.policy_of_devices = "auto"
    world.allowed.clear()
    await world.run(**RENDER)
    await world.plug(card())
    assert world.allowed == []
    assert world.seen == ["/dev/dri/renderD128"]


async def test_entries_are_recorded_before_they_are_made(world: World, tmp_path: Path) -> None:
    """An isod that ends in between would take its own for the administrator's, and never remove them."""
    seen = []
    real = world.allow_devices

    async def look(*arguments: object, only: bool) -> None:
        seen.append(json.loads((tmp_path / f"devices-{UNIT}.json").read_text())["allowed"])
        await real(*arguments, only=only)  # type: ignore[arg-type]

    world.allow_devices = look  # type: ignore[method-assign]
    await world.run(**RENDER)
    await world.plug(card())
    await world.plug()
    assert seen == [["226:128"], ["226:128"]]
    assert list(tmp_path.iterdir()) == []


async def test_the_next_isod_knows_its_own(world: World, tmp_path: Path) -> None:
    await world.run(**RENDER)
    await world.plug(card())
    again = World(tmp_path, world)
    again.devices.open()
    again.plugged = [card()]
    await again.run(**RENDER)
    assert [call for call in again.calls if call.startswith("allow")] == []
    again.grant()
    await again.settle()
    assert (again.ours, again.seen) == ([], [])


@pytest.mark.parametrize("text", ["", "[]", "{", '{"unit": "other.service", "allowed": [], "invocation_id": ""}'])
async def test_a_spoiled_record_is_dropped(world: World, tmp_path: Path, text: str) -> None:
    (tmp_path / f"devices-{UNIT}.json").write_text(text)
    world.devices.open()
    assert list(tmp_path.iterdir()) == []


# -- stops, starts, faults


async def test_a_stopped_container_loses_what_is_unplugged_or_withdrawn(world: World) -> None:
    """Its number may be another device's when it starts again."""
    await world.run(**RENDER)
    await world.plug(card())
    world.stop()
    await world.settle()
    assert world.ours == ["/dev/char/226:128 rw"]
    await world.plug()
    assert (world.ours, world.tmpfs) == ([], {})


async def test_mounts_are_made_again_in_the_next_run(world: World) -> None:
    await world.run(**KEYS)
    await world.plug(key())
    world.stop()
    await world.settle()
    world.start("cd" * 16)
    await world.settle()
    assert world.mounts == {"/dev/hidraw0": "245:7"}


async def test_what_can_not_be_given_is_told_and_hinders_nothing_else(world: World) -> None:
    world.refused = Unsupported(what="a graphics device", reason="container blog has a /dev/dri of its own")
    await world.run(**RENDER, **KEYS)
    await world.plug(card(), key())
    assert world.seen == ["/dev/hidraw0"]
    first, second = world.devices.attachments(world.container)
    assert first["what"] == "/dev/hidraw0 (245:7)"
    assert "has a /dev/dri of its own" in second["problem"]
    world.refused = None
    await world.plug(card(), key())
    assert all("problem" not in item for item in world.devices.attachments(world.container))


async def test_a_device_that_goes_meanwhile_is_no_fault(world: World) -> None:
    await world.run(**RENDER)
    world.fault = FileNotFoundError(2, "No such file or directory")
    await world.plug(card())
    assert world.devices.attachments(world.container) == []


async def test_an_app_waits_for_the_devices_that_its_container_is_about_to_get(world: World) -> None:
    """Else the first app of a container that starts, or of a new policy, would find no device."""
    world.plugged = [card()]
    world.start()
    world.grant(**RENDER)
    assert world.seen == []
    await world.devices.arrive(world.container)
    assert world.seen == ["/dev/dri/renderD128"]
    await world.devices.arrive(world.container)


async def test_a_device_that_does_not_come_keeps_no_app_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_ARRIVE_SEC", 0.01)
    monkeypatch.setattr(world, "make_node", lambda *_: asyncio.sleep(3600))
    world.plugged = [card()]
    world.start()
    world.grant(**RENDER)
    await world.devices.arrive(world.container)
    assert world.seen == []
    await world.devices.close()


async def test_what_a_busy_helper_could_not_give_is_given_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event tells that it is idle again."""
    monkeypatch.setattr(devices, "_RETRY_SEC", 0.01)
    await world.run(**RENDER)
    world.fault = TimeoutError(110, "isod-helper does not answer within 20 s")
    await world.plug(card())
    (told,) = world.devices.attachments(world.container)
    assert "isod-helper does not answer" in told["problem"]
    world.fault = None
    async with asyncio.timeout(30):
        while not world.seen:
            await asyncio.sleep(0.01)
    await world.settle()
    assert all("problem" not in item for item in world.devices.attachments(world.container))
    await world.devices.close()


async def test_nvidias_nodes_are_only_those_of_its_driver(world: World) -> None:
    await world.run(gpu=["/dev/nvidiactl"])
    await world.plug(Device("misc", "nvidiactl", "/dev/nvidiactl", (10, 1)))
    assert (world.seen, world.ours) == ([], [])
    assert "not a device of the driver" in world.devices.attachments(world.container)[0]["problem"]
    await world.plug(Device("nvidia", "nvidiactl", "/dev/nvidiactl", (195, 255)))
    assert (world.seen, world.ours) == (["/dev/nvidiactl"], ["/dev/char/195:255 rw"])


async def test_what_is_named_and_not_there_is_told(world: World) -> None:
    """R-26: `gpu` named a card and NVIDIA's nodes, of which there were none, and nothing said so."""
    named = ["0000:01:00.0", "0000:00:02.0", "/dev/nvidia0", "/dev/nvidiactl"]
    world.grant(gpu=named)
    assert world.devices.unmet(world.container).absent == tuple(named)
    await world.plug(card(), Device("nvidia", "nvidiactl", "/dev/nvidiactl", (195, 255)))
    assert world.devices.unmet(world.container).absent == ("0000:01:00.0", "/dev/nvidia0")
    world.grant(gpu="render", devices=["SUBSYSTEM=hidraw ID_VENDOR_ID=1050"])
    assert world.devices.unmet(world.container) == UnmetDevices()  # a key may be plugged in at any time


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        ("SUBSYSTEM=usb ID_VENDOR_ID=1050", "nodes in /dev/bus/usb are not given"),
        ("SUBSYSTEM=hid", "SUBSYSTEM=hidraw has"),
        ("SUBSYSTEM=net", "has no nodes"),
        ("SUBSYSTEM=deep ID_X=1", "/dev/a/b/c/d is at no place"),
    ],
)
async def test_a_match_that_can_choose_nothing_is_told(world: World, match: str, reason: str) -> None:
    """R-20, R-21: a rule for a USB device was accepted without a word, and never chose any."""
    world.grant(devices=[match, "SUBSYSTEM=hidraw ID_VENDOR_ID=1050"])
    await world.plug(key(), Device("deep", "d", "/dev/a/b/c/d", (9, 9), properties={"SUBSYSTEM": "deep", "ID_X": "1"}))
    (told,) = world.devices.unmet(world.container).never
    assert match in told
    assert reason in told


# -- grants to a running container


async def granted(world: World) -> None:
    record = world.files.of(UNIT)
    record.invocation_id, record.granted = world.container.invocation_id, {"gpu": RunTimeGrant("render", 1000)}
    world.files.save(record)
    await world.devices.settle(world.container)


async def test_a_grant_counts_until_the_container_stops(world: World, tmp_path: Path) -> None:
    await world.run()
    await world.plug(card())
    await granted(world)
    assert world.seen == ["/dev/dri/renderD128"]
    assert world.container.grants()["gpu"] == "render"
    assert "Grants" in world.changes
    world.stop()
    await world.settle()
    assert (world.seen, world.ours, world.container.grants()["gpu"]) == ([], [], "none")
    assert list(tmp_path.iterdir()) == []


async def test_a_grant_outlives_isod_and_not_another_run(world: World, tmp_path: Path) -> None:
    await world.run()
    await world.plug(card())
    await granted(world)
    again = World(tmp_path, world)
    again.plugged = [card()]
    again.devices.open()
    again.start()
    await again.settle()
    assert again.container.grants()["gpu"] == "render"
    assert again.seen == ["/dev/dri/renderD128"]
    assert again.followed == {"drm"}
    later = World(tmp_path, again)
    later.plugged = [card()]
    later.devices.open()
    later.start("cd" * 16)
    await later.settle()
    assert (later.seen, later.ours) == ([], [])


async def test_a_grant_adds_to_policy_and_takes_nothing_from_it(world: World) -> None:
    await world.run(gpu=["0000:01:00.0"])
    other = card("renderD129", 129, "0000:01:00.0")
    await world.plug(card(), other)
    assert world.seen == ["/dev/dri/renderD129"]
    await granted(world)
    assert len(world.seen) == 2


async def test_a_ceiling_that_comes_ends_a_grant(world: World) -> None:
    await world.run()
    await world.plug(card())
    await granted(world)
    world.never = {"gpu": ["render"]}
    await world.plug(card())
    assert (world.seen, world.ours) == ([], [])


async def test_a_helper_stands_by_while_a_granted_container_runs(world: World) -> None:
    """So that a device that is plugged in does not wait for a process to start."""
    world.start()
    await world.settle()
    assert not world.ready
    world.grant(gpu="render")
    assert world.ready
    world.stop()
    assert not world.ready
