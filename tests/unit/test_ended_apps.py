"""Apps that are over: whose are forgotten, when, and never while somebody may still ask how they ended."""

import asyncio
import itertools
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core_fakes import ALICE, CAROL, CLD_EXITED, Core, running, until
from isod.core import app as app_module
from isod.core import ended
from isod.ports import Account

NOW_SEC = 1000.0


def over(uid: int, ended_sec: float, *, argv: tuple[str, ...] = ("true",), lifetime_fd: int | None = None) -> Any:
    record = SimpleNamespace(owner_uid=uid, running=False, argv=argv, problem=("", ""))
    return SimpleNamespace(record=record, ended=True, ended_sec=ended_sec, lifetime_fd=lifetime_fd)


@pytest.mark.attack("C45")
def test_nobodys_apps_make_another_users_be_forgotten() -> None:
    """A13, B11, F13: 257 commands of another user took the exit code of an app that was started with -d."""
    hers = over(1000, 0.0)
    others = [over(1003, number / 10) for number in range(5000)]
    forgotten = ended.to_forget([hers, *others], NOW_SEC)
    assert hers not in forgotten
    assert len(others) - len(forgotten) == 256
    # the oldest, whatever the order in which they are known
    assert forgotten == others[: len(forgotten)]
    assert sorted(map(id, ended.to_forget(list(reversed(others)), NOW_SEC))) == sorted(map(id, forgotten))


def test_what_ended_a_moment_ago_or_is_waited_for_is_kept_up_to_a_bound() -> None:
    """F7: 8 of 48 exit codes were lost, of apps that had ended while isod was away."""
    fresh = [over(1000, NOW_SEC - 1) for _ in range(600)]
    assert ended.to_forget(fresh, NOW_SEC) == []
    assert len(ended.to_forget(fresh, NOW_SEC + 60)) == 600 - 256
    waited_for = over(1000, 0.0, lifetime_fd=7)
    assert waited_for not in ended.to_forget([waited_for, *fresh], NOW_SEC + 60)
    flood = [over(1000, NOW_SEC - 1) for _ in range(5000)]
    assert len(flood) - len(ended.to_forget(flood, NOW_SEC)) == 1024


@pytest.mark.attack("C45")
def test_long_arguments_count_by_their_size() -> None:
    """[limits] bound a user's apps, and each may hold 200 KiB of arguments: isod has 256 MiB for all."""
    long = [over(1000, number, argv=("x" * 200_000,)) for number in range(256)]
    kept = 256 - len(ended.to_forget(long, NOW_SEC))
    assert 5 < kept * 200_000 / 200_000 <= 2 * 1024 * 1024 / 200_000 + 1
    fresh = [over(1000, NOW_SEC, argv=("x" * 200_000,)) for _ in range(256)]
    assert (256 - len(ended.to_forget(fresh, NOW_SEC))) * 200_000 <= 8 * 1024 * 1024


async def finish(core: Core, app: Any) -> None:
    core.guest.tell(app.unit, ExecMainCode=CLD_EXITED, ExecMainStatus=5, SubState="exited", ActiveState="active")
    await until(lambda: app.ended and not app.record.running)


async def test_an_app_is_kept_while_its_caller_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F7: a caller may be stopped for longer than any time that isod could wait."""
    monkeypatch.setattr(ended, "_KEPT_MAX", 0)
    monkeypatch.setattr(ended, "_ASKED_WITHIN_SEC", 0.0)
    core = Core(tmp_path)
    core.guest.accounts["carol"] = Account("carol", 1003, 1003, "/home/carol", "/bin/bash")
    lifetime, held = os.pipe()
    app = await running(core, lifetime=lifetime)
    await finish(core, app)
    assert app.record.stored == ""
    assert core.store.stored == {}
    await running(core)
    assert core.apps.find(app.record.id, ALICE).record.exit_code == 5
    os.close(held)
    await until(lambda: app.lifetime_fd is None)
    assert core.apps.known(app.record.id) is app
    # carol's launch forgets what is over of everybody, by each one's own count
    await running(core, caller=CAROL)
    assert core.apps.known(app.record.id) is None


async def test_pipes_of_apps_that_are_over_are_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isod.core.apps.WAITED_FOR_MAX", 3)
    core = Core(tmp_path)
    read_fd, write_fd = os.pipe()
    found = []
    for _ in range(5):
        app = await running(core, lifetime=os.dup(read_fd))
        await finish(core, app)
        found.append(app)
    assert [app.lifetime_fd is not None for app in found] == [True, True, True, False, False]
    os.close(write_fd)
    await until(lambda: not any(app.lifetime_fd for app in found))
    os.close(read_fd)


async def test_durations_do_not_jump_with_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F18: eight records had negative durations after the host's clock was set back; also through a restart of isod."""
    jumps = itertools.count(2_000_000_000, -86_400)
    monkeypatch.setattr(app_module.time, "time_ns", lambda: next(jumps) * 1_000_000_000)
    core = Core(tmp_path)
    app = await running(core)
    after = Core(tmp_path, store=core.store, guest=core.guest)
    after.recovery.begin()
    found = after.apps.find(app.record.id, ALICE)
    after.apps.main_ended(found, exit_code=0, exit_signal=0)
    await finish(core, app)
    told = [record["duration_usec"] for record in core.records + after.records if record["kind"] != "decision"]
    assert len(told) == 3
    assert all(0 <= usec < 60_000_000 for usec in told)
    await asyncio.sleep(0)
