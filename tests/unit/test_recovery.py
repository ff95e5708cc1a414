"""Apps found again after a restart of isod: exit codes that survive, and ends that nobody saw."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from core_fakes import ALICE, CLD_EXITED, INVOCATION, Core, FakeGuest, running, until
from isod_contract.states import AppState


@pytest.fixture
def core(tmp_path: Path) -> Core:
    return Core(tmp_path)


async def restarted(tmp_path: Path, before: Core, **changed: Any) -> Core:
    """Give the isod that comes after: only files, stored descriptors and the container are the same."""
    after = Core(tmp_path, store=before.store, guest=changed.pop("guest", before.guest), **changed)
    recorded = after.recovery.begin()
    assert recorded <= {("blog", "container@blog.service")}
    after.container.invocation_id = after.guest.invocation_id
    after.recovery.finish()
    after.container.guest = after.guest
    after.containers.guest_ready(after.container)
    await asyncio.sleep(0)
    return after


@pytest.mark.parametrize("when", ["before", "between", "after"])
async def test_an_exit_code_survives_a_restart_of_isod(tmp_path: Path, core: Core, when: str) -> None:
    app = await running(core)
    end = {"ExecMainCode": CLD_EXITED, "ExecMainStatus": 7, "SubState": "exited"}
    if when == "before":
        core.guest.tell(app.unit, **end)
        await until(lambda: not app.record.running)
    core.guest.watchers.clear()
    if when == "between":
        core.guest.tell(app.unit, **end)
    after = await restarted(tmp_path, core)
    found = after.apps.find(app.record.id, ALICE)
    if when == "after":
        await until(lambda: app.unit in after.guest.watchers)
        after.guest.tell(app.unit, **end)
    await until(lambda: found.record.main_ended and not found.record.running)
    assert (found.record.exit_code, found.record.problem) == (7, ("", ""))


async def test_an_end_that_nobody_saw_is_unknown_and_never_success(tmp_path: Path, core: Core) -> None:
    app = await running(core)
    core.guest.watchers.clear()
    core.guest.units.clear()  # systemd then answers 0 and 0, without an error
    after = await restarted(tmp_path, core)
    found = after.apps.find(app.record.id, ALICE)
    await until(lambda: found.record.main_ended)
    assert (found.record.exit_code, found.record.exit_signal) == (-1, 0)
    assert found.record.problem[0] == "org.isoctl1.Error.ContainerGone"


@pytest.mark.attack("C03")
async def test_a_container_that_was_restarted_meanwhile_has_none_of_the_apps(tmp_path: Path, core: Core) -> None:
    app = await running(core)
    after = await restarted(tmp_path, core, guest=FakeGuest("cd" * 16))
    found = after.apps.find(app.record.id, ALICE)
    assert (found.record.main_ended, found.record.exit_code, found.record.running) == (True, -1, False)
    assert after.guest.invocation_id != INVOCATION
    assert not after.guest.watchers


async def test_an_app_that_was_not_started_yet_is_never_started_later(tmp_path: Path, core: Core) -> None:
    core.containers.hold.clear()
    app = core.launch()
    core.apps.save(app)
    after = await restarted(tmp_path, core)
    found = after.apps.find(app.record.id, ALICE)
    assert found.record.state is AppState.FAILED
    assert "isod was restarted during the start" in found.record.problem[1]
    assert not after.guest.started


async def test_a_caller_that_left_while_isod_was_away_ends_its_app(tmp_path: Path, core: Core) -> None:
    lifetime, held = os.pipe()
    app = await running(core, lifetime=lifetime)
    os.close(held)
    asyncio.get_running_loop().remove_reader(app.lifetime_fd)
    after = await restarted(tmp_path, core)
    await until(lambda: ("stop", app.unit) in after.guest.calls)


async def test_an_app_whose_pipe_is_lost_ends_and_a_detached_one_lives(tmp_path: Path, core: Core) -> None:
    lifetime, held = os.pipe()
    attached = await running(core, lifetime=lifetime)
    detached = await running(core)
    core.store.drop(f"lifetime-{attached.record.id}")
    after = await restarted(tmp_path, core)
    await until(lambda: ("stop", attached.unit) in after.guest.calls)
    assert ("stop", detached.unit) not in after.guest.calls
    os.close(held)
