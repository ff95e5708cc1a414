"""Descriptors or threads run out: it is said, logged and forgotten; nothing leaks, and nothing waits for ever."""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core_fakes import Core, running, until
from isod.core import launch
from isod_contract import names
from isod_side import ALICE, IsodSide, call, refused
from isod_wire import Connection

SHORT = [
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ENFILE, "Too many open files in system"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
]
OWN = {"path": names.container_path("blog"), "interface": names.CONTAINER}


@pytest.mark.attack("C45")
@pytest.mark.parametrize("fault", SHORT, ids=str)
async def test_a_call_that_meets_a_shortage_is_told_so_and_the_next_is_served(
    isod: IsodSide, alice: Connection, caplog: pytest.LogCaptureFixture, count_fds: Callable[[], int], fault: Exception
) -> None:
    """A14, B7, F16: it was an internal error with a traceback, or a loop that ended in silence."""
    await call(alice, "GetUsage", **OWN)
    before = count_fds()
    isod.containers.fault = fault
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            name, text = await refused(alice, "GetUsage", **OWN)
            assert name == "LimitExceeded"
            assert "left" in text or "threads" in text
            assert "try again later" in text
    assert [record.message for record in caplog.records] == ["call.short"] * 3
    assert not any(record.exc_info for record in caplog.records)
    isod.containers.fault = None
    await call(alice, "GetUsage", **OWN)
    assert count_fds() == before
    assert [record["outcome"] for record in isod.audit.decisions(uid=ALICE)] == ["failed"] * 3


@pytest.mark.parametrize("fault", SHORT, ids=str)
async def test_a_launch_that_meets_a_shortage_fails_by_name_and_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    core = Core(tmp_path)
    await running(core)
    before = len(os.listdir("/proc/self/fd"))
    core.containers.fault = fault
    read_fd, write_fd = os.pipe()
    with caplog.at_level(logging.WARNING):
        app = core.launch(stdout=write_fd)
        await until(lambda: app.ended and app.launching is None)
    assert app.record.problem[0] == "org.isoctl1.Error.LimitExceeded"
    assert [record.message for record in caplog.records if record.name == launch.__name__] == ["launch.short"]
    os.close(read_fd)
    core.containers.fault = None
    await running(core)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_other_faults_stay_faults(isod: IsodSide, alice: Connection) -> None:
    other: list[Any] = [OSError(errno.EIO, "/root/secret"), RuntimeError("/root/secret")]
    for fault in other:
        isod.containers.fault = fault
        name, text = await refused(alice, "GetUsage", **OWN)
        assert (name, "secret" in text) == ("Internal", False)
