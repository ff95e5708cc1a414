"""Booted labs for all tests of a run, and what must hold on them after each."""

import json
import subprocess
from collections.abc import Generator, Iterator

import pytest

from lab import programs
from lab.apps import end_all
from lab.invariants import Invariants
from lab.machine import CommandFailed, Lab

LABS = ("lab", "desktop_lab")
_WATCHED: dict[Lab, tuple[Invariants, str]] = {}
_FAILED: pytest.StashKey[bool] = pytest.StashKey()
_TOLD = 60
_TELLING = ("isod", "isod-helper", "isod-session", "isod-xserver", "isod-prepare")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what isod told last: a lab is gone when its run is over."""
    report = yield
    booted = next((value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Lab)), None)
    if report.failed and booted is not None:
        item.stash[_FAILED] = True
        try:
            told = "\n".join(_told_last(booted))
        except (CommandFailed, OSError, subprocess.SubprocessError) as error:
            told = f"not to be read: {error}"
        report.sections.append(("what isod told last", told))
    return report


def _told_last(booted: Lab) -> Iterator[str]:
    argv = ["journalctl", "-q", "--no-pager", "-o", "json", "-n", str(_TOLD)]
    for program in _TELLING:
        argv += ["-t", program]
    for line in booted.run(*argv).stdout.splitlines():
        record = json.loads(line)
        fields = [f"{key[7:].lower()}={value}" for key, value in record.items() if key.startswith("ISOCTL_")]
        at_sec = int(record["__REALTIME_TIMESTAMP"]) / 1e6
        yield f"{at_sec:.3f} {record['SYSLOG_IDENTIFIER']}: {record.get('MESSAGE')} {' '.join(sorted(fields))}"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab.boot() as booted:
        yield booted


@pytest.fixture(scope="session")
def desktop_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """One that has compositors and programs with windows; the big ones where a chosen test needs them."""
    is_full = any(item.get_closest_marker("gui_full") for item in request.session.items)
    with Lab.boot(tree="desktop-full" if is_full else "desktop") as booted:
        programs.install(booted)
        yield booted


@pytest.fixture(autouse=True)
def invariants(request: pytest.FixtureRequest) -> Iterator[Invariants | None]:
    """Checked after each test on a lab; one that breaks some on purpose has a mark `breaks(name, ...)`."""
    names = [name for name in LABS if name in request.fixturenames]
    if not names:
        yield None
        return
    booted = request.getfixturevalue(names[0])
    watched, module = _WATCHED.get(booted) or (Invariants(booted), "")
    if module != request.node.nodeid.split("::")[0]:
        watched.accept()
    _WATCHED[booted] = watched, request.node.nodeid.split("::")[0]
    yield watched
    if request.node.stash.get(_FAILED, False):
        # What it did not come to end would fail those after it.
        end_all(booted)
    declared = {name for mark in request.node.iter_markers("breaks") for name in mark.args}
    broken = [str(found) for found in watched.broken() if found.name not in declared]
    if broken:
        pytest.fail("invariants do not hold any more:\n" + "\n".join(broken), pytrace=False)
