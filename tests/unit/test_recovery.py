"""Apps found again after a restart of isod: exit codes that survive, and ends that nobody saw."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from core_fakes import ALICE, CLD_EXITED, INVOCATION, Core, FakeGuest, running, until
from isod.core import patience
from isod_contract.errors import ContainerGone, HostSilent
from isod_contract.states import AppState, ContainerState


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
    core.store.drop(attached.record.stored)
    after = await restarted(tmp_path, core)
    await until(lambda: ("stop", attached.unit) in after.guest.calls)
    assert ("stop", detached.unit) not in after.guest.calls
    os.close(held)


async def test_an_app_is_not_given_up_for_a_container_that_does_not_answer_yet(
    tmp_path: Path, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F1: of 3,400 apps 2,868 were declared ended after a restart of isod, while all of them ran on."""
    monkeypatch.setattr(patience, "_PAUSE_MIN_SEC", 0.01)
    app = await running(core)
    silences = 3
    ask = core.guest.unit_properties

    async def unit_properties(unit: str, interface: str) -> dict[str, Any]:
        nonlocal silences
        silences -= 1
        if silences >= 0:
            raise ContainerGone(container="blog", reason="its systemd does not answer")
        return await ask(unit, interface)

    core.guest.unit_properties = unit_properties  # type: ignore[method-assign]
    after = await restarted(tmp_path, core)
    found = after.apps.find(app.record.id, ALICE)
    async with asyncio.timeout(5):
        while silences > -2:
            await asyncio.sleep(0.01)
    assert (found.ended, found.record.running, found.record.problem) == (False, True, ("", ""))
    after.guest.tell(found.unit, ExecMainCode=CLD_EXITED, ExecMainStatus=7, SubState="exited")
    await until(lambda: found.record.exit_code == 7)


async def test_an_app_is_over_with_its_container_and_not_with_the_connection_to_it(core: Core) -> None:
    """F3: a bus that was restarted as isod connected to containers ended apps that ran on."""
    app = await running(core)
    core.container.state = ContainerState.STARTING

    async def fails() -> None:
        await asyncio.sleep(0)
        core.container.starting = None
        raise HostSilent(service="systemd", reason="the connection is lost")

    core.container.invocation_id = core.guest.invocation_id
    core.container.guest = None
    core.container.starting = attempt = asyncio.create_task(fails())
    core.containers.guest_lost(core.container)
    await asyncio.wait({attempt})
    for _ in range(5):
        await asyncio.sleep(0)
    assert attempt.exception() is not None
    assert (app.ended, app.record.running) == (False, True)
    # And followed again as soon as it is connected to; over when the container is.
    core.container.guest = core.guest
    core.guest.watchers.clear()
    core.containers.guest_ready(core.container)
    await until(lambda: app.unit in core.guest.watchers)
    core.container.guest = None
    core.container.state = ContainerState.STOPPED
    core.containers.guest_lost(core.container)
    await until(lambda: app.ended)
    assert app.record.problem[0] == "org.isoctl1.Error.ContainerGone"


async def test_many_apps_are_asked_about_a_few_at_a_time(tmp_path: Path, core: Core) -> None:
    """F1: each question has a deadline, and a thousand of them wait for one another."""
    for _ in range(100):
        await running(core)
    asked = most = 0

    async def unit_properties(unit: str, _interface: str) -> dict[str, Any]:
        nonlocal asked, most
        asked += 1
        most = max(most, asked)
        await asyncio.sleep(0)
        asked -= 1
        return core.guest.units[unit]

    core.guest.unit_properties = unit_properties  # type: ignore[method-assign]
    after = await restarted(tmp_path, core)
    await until(lambda: most and not asked)
    assert most <= 16
    assert not [app for app in after.apps.all() if app.ended]


async def test_apps_whose_callers_left_end_also_where_the_container_is_slow_to_answer(
    tmp_path: Path, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F1: of 3,400 apps whose caller left at once half ran on for ever: their stop had timed out."""
    monkeypatch.setattr(patience, "_PAUSE_MIN_SEC", 0.01)
    asked: dict[str, int] = {}

    async def stop_unit(unit: str) -> None:
        asked[unit] = asked.get(unit, 0) + 1
        if asked[unit] < 3:
            raise ContainerGone(container="blog", reason="its systemd does not answer")
        core.guest.tell(unit, ExecMainCode=2, ExecMainStatus=15, SubState="failed")

    core.guest.stop_unit = stop_unit  # type: ignore[method-assign]
    pipes = [os.pipe() for _ in range(40)]
    found = [await running(core, lifetime=read_fd) for read_fd, _ in pipes]
    for _, write_fd in pipes:
        os.close(write_fd)
    async with asyncio.timeout(5):
        while not all(app.ended for app in found):
            await asyncio.sleep(0.01)
