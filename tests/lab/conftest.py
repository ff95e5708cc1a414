"""One booted lab for all tests of a run."""

from collections.abc import Iterator

import pytest

from lab.machine import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab.boot() as booted:
        yield booted
