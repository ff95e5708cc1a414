"""One booted virtual machine for all tests of a run."""

from collections.abc import Iterator

import pytest

from vm.machine import Vm


@pytest.fixture(scope="session")
def vm() -> Iterator[Vm]:
    with Vm.boot() as booted:
        print(f"\nthe machine was up after {booted.boot_sec:.0f} s")
        yield booted
