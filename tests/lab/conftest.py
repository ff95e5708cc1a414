"""Booted labs for all tests of a run, and what must hold on them after each."""

from collections.abc import Iterator

import pytest

from lab import programs
from lab.invariants import Invariants
from lab.machine import Lab

LABS = ("lab", "desktop_lab")
_WATCHED: dict[Lab, tuple[Invariants, str]] = {}


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
    declared = {name for mark in request.node.iter_markers("breaks") for name in mark.args}
    broken = [str(found) for found in watched.broken() if found.name not in declared]
    if broken:
        pytest.fail("invariants do not hold any more:\n" + "\n".join(broken), pytrace=False)
