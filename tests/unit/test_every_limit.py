"""Every limit of a user's, driven to its value, over it, through a restart of isod there, and back.

A limit without a driver here fails a test. What all users share is in test_stored_fds, test_ended_apps, test_offload,
and in the lab's test_shared_limits.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from core_fakes import ALICE, CAROL, CLD_EXITED, Core, until
from isod.bus.caller import Callers
from isod.bus.prompts import Prompts
from isod.bus.ratelimit import CallLimits
from isod.bus.signals import Subscriptions
from isod.core.logs import open_journal
from isod.core.queue import LaunchQueue
from isod.ports import Account, Answer, Caller
from isod.settings import DaemonSettings, Limits
from isod_contract import limits
from isod_contract.actions import RUN
from isod_contract.errors import LimitExceeded
from isod_contract.options import LogOptions

Driver = Callable[[Limits, Path], Awaitable[None]]
NONE: Any = None


async def calls_burst(bounds: Limits, _path: Path) -> None:
    now_sec = 0.0

    def clock() -> float:
        return now_sec

    # A restarted isod counts anew: nothing of the calls lives on.
    for calls in (CallLimits(bounds.of, clock=clock), CallLimits(bounds.of, clock=clock)):
        for _ in range(bounds.calls_burst):
            assert calls.enter(1000) == ""
            calls.leave(1000)
        assert "calls per second" in calls.enter(1000)
        assert calls.enter(1003) == ""
        now_sec += 1.0
        assert calls.enter(1000) == ""


async def calls_per_sec(bounds: Limits, _path: Path) -> None:
    now_sec = 0.0
    calls = CallLimits(bounds.of, clock=lambda: now_sec)
    while not calls.enter(1000):
        calls.leave(1000)
    for _ in range(3):
        now_sec += 1.0
        for _ in range(bounds.calls_per_sec):
            assert calls.enter(1000) == ""
            calls.leave(1000)
        assert str(bounds.calls_per_sec) in calls.enter(1000)


async def calls_open(bounds: Limits, _path: Path) -> None:
    calls = CallLimits(lambda _: bounds.model_copy(update={"calls_burst": 65536}))
    for _ in range(bounds.calls_open):
        assert calls.enter(1000) == ""
    assert "not answered yet" in calls.enter(1000)
    assert calls.enter(1003) == ""
    assert calls.leave(1000)
    assert calls.enter(1000) == ""


async def launches_starting(bounds: Limits, _path: Path) -> None:
    turns = LaunchQueue(bounds.of)
    key = (1000, "blog")
    places = [turns.join(key) for _ in range(bounds.launches_starting + 1)]
    assert [place.done() for place in places] == [True] * bounds.launches_starting + [False]
    assert turns.join((1003, "blog")).done()
    turns.leave(key, places[0])
    assert places[-1].done()


async def launches_queued(bounds: Limits, _path: Path) -> None:
    turns = LaunchQueue(bounds.of)
    key = (1000, "blog")
    places = [turns.join(key) for _ in range(bounds.launches_starting + bounds.launches_queued)]
    with pytest.raises(LimitExceeded):
        turns.join(key)
    turns.leave(key, places[0])
    turns.join(key)
    with pytest.raises(LimitExceeded):
        turns.join(key)


async def apps(bounds: Limits, path: Path) -> None:
    # What starts at once has a limit of its own.
    room = bounds.model_copy(update={"launches_queued": 65536})
    core = Core(path, settings=DaemonSettings.model_construct(limits=room))
    core.guest.accounts["carol"] = Account("carol", 1003, 1003, "/home/carol", "/bin/bash")
    found = [core.launch() for _ in range(bounds.apps)]
    with pytest.raises(LimitExceeded, match=f"{bounds.apps} apps of uid 1000"):
        core.launch()
    async with asyncio.timeout(60):
        while not all(app.record.state == "running" for app in found):
            await asyncio.sleep(0.01)
    core.launch(caller=CAROL)
    after = Core(path, store=core.store, guest=core.guest, settings=core.containers.policy.settings)
    after.recovery.begin()
    assert after.apps.live_count(ALICE.uid, "blog") == bounds.apps
    with pytest.raises(LimitExceeded, match=f"{bounds.apps} apps of uid 1000"):
        after.launch()
    one = after.apps.find(found[0].record.id, ALICE)
    after.apps.unit_changed(one, {"ExecMainCode": CLD_EXITED, "ExecMainStatus": 0, "SubState": "exited"})
    await until(lambda: one.ended and not one.record.running)
    last = after.launch()
    with pytest.raises(LimitExceeded):
        after.launch()
    await until(lambda: last.launching is None)


async def subscriptions(bounds: Limits, _path: Path) -> None:
    subscribers = Subscriptions(
        connection=NONE,
        containers=NONE,
        container_object=NONE,
        app_object=NONE,
        per_uid_max=lambda uid: bounds.of(uid).subscriptions,
    )
    for number in range(bounds.subscriptions):
        subscribers.subscribe(Caller(f":1.{number}", 1000, "alice"))
    with pytest.raises(LimitExceeded):
        subscribers.subscribe(Caller(":2.1", 1000, "alice"))
    subscribers.subscribe(Caller(":2.2", 1003, "carol"))
    subscribers.forget(":1.0")
    subscribers.subscribe(Caller(":2.1", 1000, "alice"))
    with pytest.raises(LimitExceeded):
        subscribers.subscribe(Caller(":2.3", 1000, "alice"))


class SlowPolkit:
    """One whose questions are open until they are answered."""

    def __init__(self) -> None:
        self.open: list[asyncio.Future[Answer]] = []

    async def check(self, caller: Caller, _action: Any, _details: Any) -> Answer:
        if not caller.interactive:
            return Answer.NEEDS_QUESTION
        self.open.append(asyncio.get_running_loop().create_future())
        return await self.open[-1]


class Present(Callers):
    """Callers who are all there."""

    def __init__(self) -> None:
        """Know nobody in particular."""

    async def while_there(self, _sender: str, work: Any) -> Any:
        return await work


async def prompts(bounds: Limits, _path: Path) -> None:
    polkit = SlowPolkit()
    asked = Prompts(callers=Present(), authority=polkit, per_uid_max=lambda uid: bounds.of(uid).prompts)
    alice = Caller(":1.1", 1000, "alice", interactive=True)
    questions = [asyncio.create_task(asked.check(alice, RUN, {})) for _ in range(bounds.prompts)]
    await until(lambda: len(polkit.open) == bounds.prompts)
    with pytest.raises(LimitExceeded):
        await asked.check(alice, RUN, {})
    polkit.open[0].set_result(Answer.NO)
    assert await questions[0] is Answer.NO
    questions.append(asyncio.create_task(asked.check(alice, RUN, {})))
    await until(lambda: len(polkit.open) == bounds.prompts + 1)
    for question in polkit.open[1:]:
        question.set_result(Answer.YES)
    assert set(await asyncio.gather(*questions[1:])) == {Answer.YES}


async def logs(bounds: Limits, _path: Path) -> None:
    running: list[str] = []

    class Guest:
        """One whose systemd counts: that is where logs live on through a restart of isod."""

        async def call_manager(self, _member: str, _signature: str, body: Any) -> list[Any]:
            assert body[1] == ["isoctl-log-1000-*.service"]
            return [running]

        async def start_unit(self, unit: str, _properties: Any, _fds: Any) -> None:
            running.append(unit)

    fds = [await open_journal(Guest(), 1000, LogOptions(), [], bounds.logs) for _ in range(bounds.logs)]
    with pytest.raises(LimitExceeded):
        await open_journal(Guest(), 1000, LogOptions(), [], bounds.logs)
    running.pop()
    fds.append(await open_journal(Guest(), 1000, LogOptions(), [], bounds.logs))
    for fd in fds:
        os.close(fd)


DRIVERS: dict[str, Driver] = {
    "calls_burst": calls_burst,
    "calls_per_sec": calls_per_sec,
    "calls_open": calls_open,
    "launches_starting": launches_starting,
    "launches_queued": launches_queued,
    "apps": apps,
    "subscriptions": subscriptions,
    "prompts": prompts,
    "logs": logs,
}


def test_every_limit_has_a_driver() -> None:
    assert DRIVERS.keys() == limits.PER_UID.keys()


@pytest.mark.attack("C45", "C15")
@pytest.mark.parametrize("which", ["default", "least"])
@pytest.mark.parametrize("key", DRIVERS)
async def test_each_limit_holds_at_its_value_over_it_after_a_restart_and_back(
    tmp_path: Path, key: str, which: str
) -> None:
    bounds = Limits(**{key: getattr(limits.PER_UID[key], which)})
    await DRIVERS[key](bounds, tmp_path)
