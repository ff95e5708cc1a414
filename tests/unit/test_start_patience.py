"""How long isod waits for a container's bus: for one that boots as policy says, for one that is up a few seconds."""

import asyncio
import time
from typing import Any

import pytest

from core_fakes import ALICE, INVOCATION, FakeGuest
from isod.core import start
from isod.core.container import Container
from isod.core.events import Events
from isod.core.start import Starts
from isod.policy import ContainerPolicy
from isod.ports import UnitStatus
from isod_contract.errors import ContainerGone, IsodError, StartFailed, StartTimeout

pytestmark = pytest.mark.asyncio

PATIENCE_SEC = 0.2


class Host:
    """A host whose container is active, and whose bus fails each time that it is connected to."""

    def __init__(self, error: IsodError) -> None:
        self.error: IsodError | None = error
        self.booted = True
        self.connects = 0
        self.container = Container("evil", "container@evil.service", "evil", ContainerPolicy(start_timeout_sec=1))

    async def status(self, _unit: str) -> UnitStatus:
        return UnitStatus("loaded", "active", "running", INVOCATION)

    async def has_booted(self, _unit: str) -> bool:
        return self.booted

    async def connect(self, _machine: str, _unit: str, invocation_id: str) -> Any:
        self.connects += 1
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return FakeGuest(invocation_id)

    async def last_lines(self, _unit: str, _since_usec: int) -> list[str]:
        return []

    def starts(self) -> Starts:
        ports: Any = self
        return Starts(
            units=ports, door=ports, audit=ports, events=Events(), unit_log=ports, guard=ports, leftovers=ports,
            connected=lambda container, guest: setattr(container, "guest", guest),
        )  # fmt: skip


def silent() -> IsodError:
    return StartFailed(container="evil", reason="its bus does not answer")


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "GUEST_CONNECT_TIMEOUT_SEC", PATIENCE_SEC)


@pytest.mark.attack("C21")
async def test_what_says_that_it_is_up_is_not_waited_for_as_for_a_boot() -> None:
    host = Host(silent())
    began_sec = time.monotonic()
    with pytest.raises(StartFailed, match="does not answer"):
        await host.starts().ensure_running(host.container, ALICE)
    assert time.monotonic() - began_sec < 0.9
    assert host.connects > 1  # a bus that is being restarted inside gets its time


@pytest.mark.attack("C22")
async def test_what_does_not_say_so_has_the_time_that_policy_gives_and_no_more() -> None:
    host = Host(silent())
    host.booted = False
    began_sec = time.monotonic()
    with pytest.raises(StartTimeout):
        await host.starts().ensure_running(host.container, ALICE)
    assert time.monotonic() - began_sec > PATIENCE_SEC * 2


@pytest.mark.attack("C21")
async def test_who_waits_for_an_adoption_gets_its_error_and_does_not_begin_anew() -> None:
    host = Host(silent())
    starts = host.starts()
    starts.adopt(host.container)
    began_sec = time.monotonic()
    waiting = [starts.ensure_running(host.container, ALICE) for _ in range(5)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [StartFailed] * 5
    assert time.monotonic() - began_sec < 0.9


async def test_an_adoption_of_what_just_ended_is_followed_by_a_start() -> None:
    host = Host(silent())
    starts = host.starts()
    host.error = ContainerGone(container="evil", reason="it stopped")
    host.booted = True
    starts.adopt(host.container)
    waiting = asyncio.create_task(starts.ensure_running(host.container, ALICE))
    while host.container.starting is None or host.connects < 2:
        await asyncio.sleep(0)
    host.error = None
    assert (await waiting).invocation_id == INVOCATION
