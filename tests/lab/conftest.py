"""Booted labs for all tests of a run."""

from collections.abc import Iterator

import pytest

from lab.machine import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab.boot() as booted:
        yield booted


@pytest.fixture(scope="session")
def desktop_lab() -> Iterator[Lab]:
    """One that has compositors and programs with windows."""
    with Lab.boot(tree="desktop") as booted:
        yield booted
