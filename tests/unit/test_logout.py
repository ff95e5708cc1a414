"""Containers that policy wants stopped with the last desktop of their users."""

from typing import Any

import pytest

from isod.core import logout as module
from isod.core.container import Container
from isod.core.logout import Logout
from isod.policy import ContainerPolicy
from isod.ports import Caller
from isod_contract.errors import Busy
from isod_contract.states import ContainerState

NAMES = {0: "root", 1000: "alice", 1003: "carol", 1004: "dave"}


class Watch:
    """The host's logins, which a test ends by hand."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def listen(self, *, departed: Any) -> None:
        self._world.departed = departed


class World:
    """Sessions, logind and containers."""

    def __init__(self, *policies: ContainerPolicy) -> None:
        self.listeners: list[Any] = []
        self.departed: Any = None
        self.live: set[int] = set()
        self.logged_in: set[int] | None = set()
        self.stopped: list[tuple[str, bool]] = []
        self.on_stop: Any = lambda: None
        self.known = [Container(f"c{n}", f"c{n}.service", f"c{n}", policy) for n, policy in enumerate(policies)]
        for container in self.known:
            container.state = ContainerState.RUNNING
        parts: Any = {"sessions": self, "containers": self, "logins": self, "watch": Watch(self)}
        self.logout = Logout(**parts)

    def listen(self, changed: Any) -> None:
        self.listeners.append(changed)

    def find(self, uid: int) -> object | None:
        return uid if uid in self.live else None

    def all(self) -> list[Container]:
        return self.known

    async def uids(self) -> set[int] | None:
        return self.logged_in

    async def stop(self, container: Container, caller: Caller, *, force: bool) -> None:
        assert caller.is_root
        self.stopped.append((container.name, force))
        self.on_stop()

    async def session_gone(self, uid: int) -> list[str]:
        for changed in self.listeners:
            changed(uid)
        return await self.looked()

    async def logged_out(self, uid: int) -> list[str]:
        self.departed(uid)
        return await self.looked()

    async def looked(self) -> list[str]:
        await self.logout._background.settle()
        return [name for name, _ in self.stopped]


@pytest.fixture(autouse=True)
def accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "caller_of", lambda uid: Caller("", uid, NAMES[uid]))


def policy(*users: str, on_logout: str = "stop") -> ContainerPolicy:
    return ContainerPolicy.model_validate({"users": list(users), "on_logout": on_logout})


async def test_what_policy_wants_stopped_stops_and_nothing_else() -> None:
    world = World(policy("alice"), policy("alice", on_logout="keep"), policy("carol"))
    assert await world.session_gone(1000) == ["c0"]
    assert world.stopped == [("c0", True)]


@pytest.mark.parametrize(
    ("logged_in", "stopped"),
    [
        (set(), ["c0"]),
        ({1000}, []),  # only the service ended
        ({1003}, []),  # the other user of it is still there
        ({1004, 0}, ["c0"]),
        (None, []),  # logind does not answer
    ],
)
async def test_logind_decides_whether_anybody_is_left(logged_in: set[int] | None, stopped: list[str]) -> None:
    world = World(policy("alice", "carol"))
    world.logged_in = logged_in
    assert await world.session_gone(1000) == stopped


async def test_a_session_that_is_there_again_stops_nothing() -> None:
    world = World(policy("alice"))
    world.live.add(1000)
    assert await world.session_gone(1000) == []


async def test_what_does_not_run_is_left() -> None:
    world = World(policy("alice"))
    world.known[0].state = ContainerState.STARTING
    assert await world.session_gone(1000) == []


async def test_who_logs_in_again_while_one_stops_keeps_the_others() -> None:
    world = World(policy("alice"), policy("alice"))
    world.on_stop = lambda: setattr(world, "logged_in", {1000})
    assert await world.session_gone(1000) == ["c0"]


async def test_one_that_does_not_stop_hurts_no_other_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    world = World(policy("alice"), policy("alice"))

    def refuse() -> None:
        if len(world.stopped) == 1:
            raise Busy(container="c0", reason="no")

    world.on_stop = refuse
    assert await world.session_gone(1000) == ["c0", "c1"]
    assert "container.not_stopped" in [record.message for record in caplog.records]


async def test_a_logout_without_a_desktop_counts_too() -> None:
    """A console or ssh has no isod-session, or one that ended long before."""
    world = World(policy("alice"))
    assert await world.logged_out(1000) == ["c0"]
