"""What a container's systemd says is bounded, however it lies: text, jobs, signals, and threads on its files."""

import asyncio
import logging
import threading
from typing import Any

import pytest

from core_fakes import Core, FakeGuest, until
from isod.host import jobs as jobs_module
from isod.host.jobs import Jobs
from isod.host.offload import Offload
from isod_contract.errors import StartFailed, UnsafePath
from isod_wire import BadReply
from isod_wire.errors import BadMessage
from isod_wire.match import Match, MatchTable

pytestmark = [pytest.mark.attack("C55")]


class Reply:
    def __init__(self, *body: Any, signature: str = "uoss") -> None:
        self.body = list(body)
        self.signature = signature

    def __enter__(self) -> "Reply":
        return self

    def __exit__(self, *_: object) -> None:
        """Close nothing."""


class Bus:
    """Answers each call that queues a job with the next of some paths."""

    def __init__(self, *paths: str) -> None:
        self.paths = list(paths)

    async def call(self, *_: Any, **__: Any) -> Reply:
        return Reply(self.paths.pop(0))


def job(number: int) -> str:
    return f"/org/freedesktop/systemd1/job/{number}"


async def test_no_error_is_longer_than_a_page_whatever_its_words_are() -> None:
    """A job's result of a megabyte became a record of isod's; with 80 of them isod died at each start."""
    assert len(StartFailed(container="blog", reason="x" * 1_000_000).text) < 2100


async def test_the_result_of_a_job_is_one_of_those_that_systemd_has() -> None:
    bus: Any = Bus(job(1))
    jobs = Jobs(bus)
    future = await jobs.queue("StartTransientUnit", "s", ["unit"])
    message: Any = Reply(1, job(1), "unit", "y" * 1_000_000)
    jobs._job_removed(message)
    assert await future == "an unknown result"


@pytest.mark.parametrize("path", ["/" + "a" * 1_000_000, "/org/freedesktop/systemd1/job/x", job(12345678901)])
async def test_a_job_has_the_path_of_one(path: str) -> None:
    bus: Any = Bus(path)
    with pytest.raises(BadReply):
        await Jobs(bus).queue("StartTransientUnit", "s", ["unit"])


async def test_jobs_that_never_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "_WAITING_MAX", 3)
    bus: Any = Bus(*map(job, range(10)))
    jobs = Jobs(bus)
    futures = [await jobs.queue("StartTransientUnit", "s", ["unit"]) for _ in range(10)]
    assert [future.done() for future in futures] == [True] * 7 + [False] * 3
    assert len(jobs._waiting) == len(jobs._asked) == 3


async def test_who_gives_up_leaves_no_thread_that_nobody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A10: whoever left just before the deadline left a stuck thread, and the turn to the next one."""
    monkeypatch.setattr("isod.host.offload._DEADLINE_SEC", 0.2)
    offload, release, begun = Offload("evil"), threading.Event(), []

    def hang() -> None:
        begun.append(1)
        release.wait(10)

    try:
        for _ in range(20):
            with pytest.raises((TimeoutError, UnsafePath)):
                async with asyncio.timeout(0.01):
                    await offload.run(hang)
        await asyncio.sleep(0.3)
        with pytest.raises(UnsafePath, match="no answer"):
            await offload.run(hang)
        assert len(begun) == 1
    finally:
        release.set()
    await offload.close()


async def test_signals_that_can_not_be_read_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """A3 from inside: 1,400 a second were 1,400 lines a second of isod's, and rotated the audit out of the journal."""

    def unreadable(_: Any) -> None:
        raise BadMessage("no path")

    table, message = MatchTable(), Reply()
    message.path = "/"  # type: ignore[attr-defined]
    table.add(Match("", None, unreadable, lambda _: True, lambda _: None))
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            table.dispatch(message)  # type: ignore[arg-type]
    assert len(caplog.records) == 1


async def test_what_is_left_in_one_container_is_no_limit_in_another(tmp_path: Any) -> None:
    core = Core(tmp_path, guest=FakeGuest())
    app = core.launch()
    await until(lambda: app.record.running)
    app.record.main_ended, app.record.state = True, type(app.record.state)("exited")
    assert core.apps.live_count(1000, "blog") == 1
    assert core.apps.live_count(1000, "shop") == 0
