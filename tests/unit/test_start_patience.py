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
from isod.ports import DESTRUCTIVE, UnitSettings, UnitStatus
from isod_contract.errors import ContainerGone, HostSilent, IsodError, StartFailed, StartTimeout
from isod_contract.states import ContainerState

pytestmark = pytest.mark.asyncio

PATIENCE_SEC, SOON_SEC = 0.2, 5.0


class Host:
    """A host whose container is active, and whose bus fails each time that it is connected to."""

    def __init__(self, error: IsodError) -> None:
        self.error: IsodError | None = error
        self.booted = True
        self.connects = 0
        self.log: list[str] = []
        self.state = "active"
        self.silent = False
        self.lacks = ""
        self.results: list[str] = []
        self.jobs: list[str] = []
        self.container = Container("evil", "container@evil.service", "evil", ContainerPolicy(start_timeout_sec=1))

    async def status(self, _unit: str) -> UnitStatus:
        if self.silent:
            raise HostSilent(service="systemd", reason="no reply")
        return UnitStatus("loaded", self.state, "running", INVOCATION)

    async def check(self, _machine: str, _name: str) -> None:
        """Find the root well."""

    async def settings(self, _unit: str) -> UnitSettings:
        return UnitSettings(
            load_state="loaded",
            active_state=self.state,
            needs_reload=False,
            device_policy="",
            device_allow=(),
            command=("systemd-nspawn", "--boot", "-D", "/srv/evil"),
        )

    async def lack(self, root: str, _container: str) -> str:
        assert root == "/srv/evil"
        return self.lacks

    def record(self, *_: Any, **__: Any) -> None:
        """Write no audit."""

    async def clear(self, *_: Any) -> bool:
        return False

    async def start(self, _unit: str) -> str:
        self.jobs.append("start")
        result = self.results.pop(0) if self.results else "done"
        self.state = "active" if result == "done" else self.state
        return result

    async def stop(self, _unit: str) -> str:
        self.jobs.append("stop")
        return "done"

    async def has_booted(self, _unit: str) -> bool:
        return self.booted

    async def connect(self, _machine: str, _unit: str, invocation_id: str) -> Any:
        self.connects += 1
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return FakeGuest(invocation_id)

    async def last_lines(self, _unit: str, _since_usec: int) -> list[str]:
        return self.log

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


async def test_a_host_whose_systemd_is_silent_is_named_and_kept_as_the_problem() -> None:
    """B14: an error of the transport ended the launch as "internal error", and `status` knew of nothing."""
    host = Host(silent())
    host.silent = True
    with pytest.raises(HostSilent, match="the host's systemd does not answer"):
        await host.starts().ensure_running(host.container, ALICE)
    assert isinstance(host.container.problem, HostSilent)


async def test_a_machined_that_is_away_is_waited_for_and_named() -> None:
    """F16: "no answer from inside in time", of a container that had nothing to do with it."""
    host = Host(HostSilent(service="machined", reason="no reply"))
    host.booted = False
    with pytest.raises(StartTimeout, match="the host's machined does not answer"):
        await host.starts().ensure_running(host.container, ALICE)
    assert host.connects > 1


async def test_a_start_that_was_stopped_says_so_and_is_no_problem() -> None:
    """F16: "start failed: ... canceled" of `isoctl stop` right after a start."""
    host = Host(silent())
    host.state, host.results = "inactive", ["canceled"]
    host.container.stops = 1
    with pytest.raises(ContainerGone, match="stopped while it started"):
        await host.starts().ensure_running(host.container, ALICE)
    assert host.container.problem is None


async def test_a_start_into_an_end_that_is_under_way_waits_for_that() -> None:
    """F16: systemd's own "Transaction is destructive" of a container that was just going down."""
    host = Host(silent())
    host.error, host.state, host.results = None, "inactive", [DESTRUCTIVE, "done"]
    await host.starts().ensure_running(host.container, ALICE)
    assert host.jobs == ["start", "stop", "start"]


async def test_a_host_that_shuts_down_is_named() -> None:
    """F16."""
    host = Host(silent())
    host.state, host.results = "inactive", [DESTRUCTIVE, DESTRUCTIVE]
    with pytest.raises(StartFailed, match="as when the host shuts down"):
        await host.starts().ensure_running(host.container, ALICE)


async def test_one_that_is_up_and_did_not_answer_is_connected_to_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """F3: after a restart of isod nothing more is told of a container that stands, and apps run in it."""
    monkeypatch.setattr(start, "_ADOPT_FIRST_SEC", 0.01)
    host = Host(StartFailed(container="evil", reason="unused"))
    host.error, host.silent = None, True
    host.container.state = ContainerState.STARTING
    starts = host.starts()
    starts.adopt(host.container)
    async with asyncio.timeout(SOON_SEC):
        while host.container.silences < 4:
            await asyncio.sleep(0.005)
        assert host.container.guest is None
        host.silent = False
        while host.container.guest is None:
            await asyncio.sleep(0.005)
    assert host.container.silences == 0
    # One that has ended meanwhile is not asked again.
    host.container.guest, host.silent, host.connects = None, True, 0
    starts.adopt(host.container)
    await asyncio.sleep(0)
    host.container.state = ContainerState.STOPPED
    await asyncio.sleep(0.05)
    assert (host.container.silences, host.connects, host.container.starting) == (1, 0, None)
    await starts.close()


async def test_what_its_files_lack_stands_in_the_place_of_what_systemd_calls_it() -> None:
    """N16: "container 'ghost' stopped: container@ghost.service is inactive"."""
    host = Host(silent())
    host.state = "inactive"
    host.results = ["done"]
    host.lacks = "/srv/evil has no init to boot"
    with pytest.raises(StartFailed, match="start failed: /srv/evil has no init to boot"):
        await host.starts().ensure_running(host.container, ALICE)
    assert host.container.problem is not None
    assert "no init" in host.container.problem.text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "Failed to map ids for bind mount /tmp/root/home/alice/nfs: Operation not permitted",
            "can't map owners (idmap)",
        ),
        ("Failed to stat /srv/bobs-secret: No such file or directory", "that is shared with it is not there"),
        ("Failed to frob: Failed to map ids for bind mount /x", "failed"),
    ],
)
async def test_why_nspawn_failed_is_said_to_users_too_without_its_paths(line: str, words: str) -> None:
    """R-31 and point 14: alice was told "failed; see systemctl status", which shows her nothing."""
    host = Host(silent())
    host.state, host.results, host.log = "inactive", ["failed"] * 4, ["Spawning container evil", line]
    with pytest.raises(StartFailed) as failed:
        await host.starts().ensure_running(host.container, ALICE)
    assert words in failed.value.text_for(is_root=False)
    assert "/srv" not in failed.value.text_for(is_root=False)
    assert line in failed.value.text_for(is_root=True)
