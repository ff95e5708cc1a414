"""What an app leaves when its main process ends: moved, followed, and ended with it, whatever comes in between."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core_fakes import CLD_EXITED, Core, FakeGuest, running, until
from isod.core import adoption, patience
from isod.settings import DaemonSettings
from isod_contract.errors import ContainerGone, LimitExceeded, StartFailed
from isod_contract.states import AppState


class Guest(FakeGuest):
    """A systemd that moves processes into scopes; `born` are those that appear while others are moved."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: dict[str, list[int]] = {}
        self.born: list[int] = []
        self.silent = 0
        self.refuses: set[int] = set()  # numbers of scopes that it does not make
        self.lies = False  # that each unit holds a process

    async def processes(self, unit: str) -> dict[int, str]:
        if self.silent:
            self.silent -= 1
            raise ContainerGone(container="blog", reason="its systemd does not answer")
        return dict.fromkeys([4711] if self.lies else self.inside.get(unit, ()), "")

    async def start_unit(self, unit: str, properties: Sequence[tuple[str, str, Any]], fds: Sequence[int] = ()) -> Any:
        if unit.endswith(".scope") and int(unit.removesuffix(".scope").rpartition("-")[2]) in self.refuses:
            raise StartFailed(container="blog", reason="no")
        for name, _, pids in properties:
            if name == "PIDs":
                for others in self.inside.values():
                    others[:] = [pid for pid in others if pid not in pids]
                self.inside[unit] = list(pids)
        started = await super().start_unit(unit, properties, fds)
        if unit.endswith(".scope") and self.born:
            self.inside[self.service].append(self.born.pop())
        return started

    async def stop_unit(self, unit: str) -> None:
        await super().stop_unit(unit)
        if unit.endswith(".scope"):
            self.inside[unit] = []
            self.tell(unit, ActiveState="inactive", SubState="dead")

    @property
    def service(self) -> str:
        return next(unit for unit, _, _ in self.started if unit.endswith(".service"))

    def main_ends(self, *left: int) -> None:
        self.inside[self.service] = list(left)
        self.tell(self.service, ExecMainCode=CLD_EXITED, ExecMainStatus=3, ActiveState="active", SubState="exited")

    @property
    def moves(self) -> list[tuple[str, list[int]]]:
        return [
            (unit.partition("-")[2].rpartition("-")[2], list(properties["PIDs"][1]))
            for unit, properties, _ in self.started
            if "PIDs" in properties
        ]


@pytest.fixture
def core(tmp_path: Path) -> Core:
    return Core(tmp_path, guest=Guest())


@pytest.fixture
def pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    yield writer
    os.close(reader)


async def started(core: Core, pipe: int) -> tuple[Any, Any]:
    return await running(core, stdout=pipe), core.guest


async def test_a_unit_with_a_callers_pipe_ends_with_its_main_process(core: Core, pipe: int) -> None:
    app, guest = await started(core, pipe)
    properties = guest.started[0][1]
    assert (properties["ExitType"][1], properties["KillMode"][1]) == ("main", "process")
    codes, signals = properties["SuccessExitStatus"][1]
    # By these systemd says that nothing was executed.
    assert set(codes) == set(range(1, 256)) - set(range(200, 244))
    assert 9 in signals
    guest.main_ends()
    await until(lambda: not app.record.running)
    assert guest.moves == []
    assert ("stop", app.service) in guest.calls


async def test_a_unit_without_one_lives_until_nothing_is_left(core: Core) -> None:
    await running(core)
    properties = core.guest.started[0][1]
    assert (properties["ExitType"][1], properties["KillMode"][1]) == ("cgroup", "control-group")
    assert "SuccessExitStatus" not in properties


async def test_what_is_left_moves_and_is_part_of_the_app_until_it_ends(core: Core, pipe: int) -> None:
    app, guest = await started(core, pipe)
    guest.main_ends(5, 6)
    await until(lambda: app.record.left_over)
    assert (app.record.state, app.record.exit_code, app.record.running) == (AppState.EXITED, 3, True)
    assert guest.moves == [("1.scope", [5, 6])]
    assert guest.calls.index(("stop", app.service)) >= 0
    assert app.unit == app.scope
    await core.apps.signal(app, 15)
    assert ("kill 15", app.scope) in guest.calls
    guest.tell(app.scope, ActiveState="inactive", SubState="dead")
    await until(lambda: not app.record.running)


async def test_what_is_born_meanwhile_is_stopped_and_all_of_it_moves_on(core: Core, pipe: int) -> None:
    app, guest = await started(core, pipe)
    guest.born = [8, 7]
    guest.main_ends(5)
    await until(lambda: app.record.left_over)
    assert guest.moves == [("1.scope", [5]), ("2.scope", [7, 5]), ("3.scope", [8, 7, 5])]
    stopped = [unit for call, unit in guest.calls if call == "kill 19"]
    continued = {unit for call, unit in guest.calls if call == "kill 18"}
    assert app.service in stopped
    # Nothing is left standing, wherever it is by now.
    assert {app.service, app.scope} <= continued


async def test_what_can_not_be_moved_several_times_in_a_row_stays_known(core: Core, pipe: int) -> None:
    """Second attack, 5: with the second scope in a row that was not made, what was in the one before was forgotten."""
    app, guest = await started(core, pipe)
    guest.born = [9, 8]
    guest.refuses = {2, 3, 4}
    guest.main_ends(5)
    await until(lambda: app.record.left_over)
    assert [unit for unit, found in guest.inside.items() if found] == [app.scope]
    assert sorted(guest.inside[app.scope]) == [5, 8, 9]
    assert app.record.older_scopes == ()
    await core.apps.signal(app, 9)
    assert ("kill 9", app.scope) in guest.calls


async def test_scopes_that_a_systemd_only_says_are_full_are_bounded(
    core: Core, pipe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_PAUSE_MIN_SEC", 0.001)
    app, guest = await started(core, pipe)
    guest.lies = True
    guest.main_ends(5)
    async with asyncio.timeout(5):
        while app.record.scopes < 8:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    assert len(app.units) <= 12
    guest.lies = False
    await until(lambda: app.record.left_over or not app.record.running)


async def test_a_stop_moves_all_but_the_main_process_so_that_each_gets_one_signal(core: Core, pipe: int) -> None:
    app, guest = await started(core, pipe)
    guest.units[app.service]["MainPID"] = 4
    guest.inside[app.service] = [4, 5]
    await core.apps.stop(app)
    assert guest.moves == [("1.scope", [5])]
    assert [unit for call, unit in guest.calls if call == "stop"] == [app.service, app.scope]
    assert not [call for call, _ in guest.calls if call.startswith("kill")]


async def test_a_container_that_is_silent_just_then_is_asked_again(
    core: Core, pipe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_PAUSE_MIN_SEC", 0.01)
    app, guest = await started(core, pipe)
    guest.silent = 2
    guest.main_ends(5)
    await until(lambda: app.record.left_over)
    assert guest.moves == [("1.scope", [5])]


async def test_an_isod_that_was_killed_in_between_leaves_it_to_the_next(
    tmp_path: Path, core: Core, pipe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, guest = await started(core, pipe)

    async def killed(*_: Any) -> None:
        raise ContainerGone(container="blog", reason="killed here")

    with monkeypatch.context() as cut:
        cut.setattr(adoption, "_make_scope", killed)
        guest.main_ends(5)
        await until(lambda: app.record.scopes == 1)
    after = Core(tmp_path, guest=guest)
    after.recovery.begin()
    after.container.guest, after.container.invocation_id = guest, guest.invocation_id
    after.containers.guest_ready(after.container)
    (found,) = after.apps.all()
    await until(lambda: found.record.left_over)
    assert guest.inside[found.scope] == [5]


@pytest.mark.attack("C55")
async def test_what_is_left_counts_against_the_limit_of_apps(tmp_path: Path) -> None:
    """A container's systemd may say of each app that something is left, for ever; each is a record of isod's."""
    settings = DaemonSettings.model_validate({"limits": {"apps": 3}})
    core = Core(tmp_path, guest=Guest(), settings=settings)
    apps = []
    for _ in range(3):
        reader, writer = os.pipe()
        app = await running(core, stdout=writer)
        apps.append(app)
        os.close(reader)
        core.guest.inside[app.service] = [5]
        ended = {"ExecMainCode": CLD_EXITED, "ExecMainStatus": 0, "ActiveState": "active", "SubState": "exited"}
        core.guest.tell(app.service, **ended)
    await until(lambda: all(app.record.left_over for app in apps))
    with pytest.raises(LimitExceeded, match="3 apps of uid 1000 are running"):
        core.launch()
