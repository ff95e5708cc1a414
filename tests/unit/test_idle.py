"""Containers that policy wants stopped when nobody has used them for a while."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from isod.core.app import App, AppRecord
from isod.core.container import Container
from isod.core.idle import Idle
from isod.core.windows import ShownSocket, UnknownUse, Windows
from isod.policy import ContainerPolicy
from isod.ports import Caller, Login
from isod_contract.errors import HostSilent
from isod_contract.states import AppState, ContainerState

PERSON = Login("c2", 1000)
SHOWN = ShownSocket(1000, "/run/user/1000/wayland-0", is_isods=True)
UNIT = "container@blog.service"


class Guest:
    """A running container and its logind."""

    pidfd = 17

    def __init__(self) -> None:
        self.logins = self.Logind()

    class Logind:
        """Its sessions."""

        def __init__(self) -> None:
            self.sessions: list[Login] | None = []
            self.changed: Any = None
            self.while_asked: Any = lambda: None

        async def watch(self, changed: Any) -> None:
            self.changed = changed

        async def logins(self) -> Sequence[Login] | None:
            self.while_asked()
            return self.sessions


class World:
    """One container and its apps; the test says when the time is over."""

    def __init__(self, idle_stop_sec: int = 600) -> None:
        policy = ContainerPolicy(users=("alice",), idle_stop_sec=idle_stop_sec)
        self.container = Container("blog", UNIT, "blog", policy)
        self.container.state = ContainerState.RUNNING
        self.container.guest = self.guest = Guest()
        self.apps: list[App] = []
        self.stopped = 0
        self.stop_fails = False
        self.used_by = ""
        self.while_looked_at: Callable[[], object] = lambda: None
        windows = Windows(lambda _container: [SHOWN], self.look_at)
        self.idle = Idle(containers=Containers(self), apps=Apps(self), windows=windows)  # type: ignore[arg-type]
        self.idle.container_changed(self.container, frozenset({"State"}))

    def look_at(self, pidfd: int, sockets: Sequence[ShownSocket]) -> str:
        assert (pidfd, sockets) == (Guest.pidfd, [SHOWN])
        self.while_looked_at()
        if self.used_by == "fault":
            raise ValueError("a line of its")
        if self.used_by == "unknown":
            raise UnknownUse("nobody knows")
        return self.used_by

    def app(self, *, running: bool, state: AppState) -> App:
        record = AppRecord(
            id="00", container="blog", host_unit=UNIT, machine="blog", owner_uid=1000, user="alice", argv=("true",)
        )
        record.running, record.state = running, state
        self.apps.append(App(record))
        self.idle.app_added(self.apps[-1])
        return self.apps[-1]

    @property
    def timer(self) -> asyncio.TimerHandle | None:
        return self.idle._timers.get(self.container)

    async def time_is_over(self) -> int:
        timer = self.timer
        assert timer is not None
        callback, arguments = timer._callback, timer._args  # type: ignore[attr-defined]
        timer.cancel()
        callback(*arguments)
        await self.idle._background.settle()
        return self.stopped


class Containers:
    """The containers of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def all(self) -> list[Container]:
        return [self._world.container]

    async def stop(self, container: Container, caller: Caller, *, force: bool) -> None:
        assert (container, caller.uid, force) == (self._world.container, 0, True)
        if self._world.stop_fails:
            raise HostSilent(service="systemd", reason="busy")
        self._world.stopped += 1


class Apps:
    """The apps of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def all(self) -> list[App]:
        return self._world.apps


async def test_a_container_that_nobody_uses_stops() -> None:
    world = World()
    assert await world.time_is_over() == 1


async def test_zero_means_never() -> None:
    assert World(idle_stop_sec=0).timer is None


@pytest.mark.parametrize("sessions", [[], None])
async def test_a_container_without_logind_or_sessions_stops_too(sessions: list[Login] | None) -> None:
    world = World()
    world.guest.logins.sessions = sessions
    assert await world.time_is_over() == 1


@pytest.mark.parametrize(
    ("running", "state"),
    [
        (True, AppState.RUNNING),
        (True, AppState.EXITED),  # what it left behind runs on
        (False, AppState.STARTING_CONTAINER),
        (False, AppState.AUTHORIZING),
    ],
)
async def test_an_app_keeps_it(running: bool, state: AppState) -> None:
    world = World()
    world.app(running=running, state=state)
    assert await world.time_is_over() == 0


async def test_the_end_of_an_app_begins_the_time_anew() -> None:
    world = World()
    app = world.app(running=True, state=AppState.RUNNING)
    await world.time_is_over()
    assert world.timer is None or world.timer.cancelled()
    app.record.running, app.record.state = False, AppState.EXITED
    world.idle.app_changed(app, frozenset({"Running"}))
    assert await world.time_is_over() == 1


async def test_a_person_who_is_logged_in_keeps_it_until_he_leaves() -> None:
    world = World()
    world.guest.logins.sessions = [PERSON]
    assert await world.time_is_over() == 0
    world.guest.logins.sessions = []
    world.guest.logins.changed()
    assert await world.time_is_over() == 1


async def test_whoever_comes_while_logind_is_asked_keeps_it() -> None:
    world = World()
    world.guest.logins.while_asked = lambda: world.app(running=False, state=AppState.AUTHORIZING)
    assert await world.time_is_over() == 0


async def test_a_container_that_was_stopped_is_left() -> None:
    world = World()
    world.container.state = ContainerState.STOPPING
    world.idle.container_changed(world.container, frozenset({"State"}))
    assert world.timer is None


async def test_a_new_policy_counts_from_now() -> None:
    world = World()
    world.container.policy = ContainerPolicy(users=("alice",))
    world.idle.policy_changed()
    assert world.timer is None


@pytest.mark.parametrize("used_by", ["1 connection to its display", "unknown"])
async def test_a_window_that_no_app_of_ours_has_keeps_it_and_then_the_time_begins(used_by: str) -> None:
    """Of gnome-terminal and Nautilus D-Bus opens the windows inside: no app runs, and they were closed unasked."""
    world = World(idle_stop_sec=600)
    world.used_by = used_by
    for _ in range(3):
        assert await world.time_is_over() == 0
        assert world.timer is not None
        assert world.timer.when() - asyncio.get_running_loop().time() < 61
    world.used_by = ""
    assert await world.time_is_over() == 0  # closed a moment ago
    assert world.timer.when() - asyncio.get_running_loop().time() > 500
    world.idle._seen_sec[world.container] -= 601
    assert await world.time_is_over() == 1


async def test_a_look_or_a_stop_that_fails_is_not_the_last() -> None:
    """Whatever fails: else the container is never idle again, and one process in its network could see to that."""
    world = World()
    world.used_by = "fault"
    for _ in range(2):
        assert await world.time_is_over() == 0
    world.used_by, world.stop_fails = "", True
    for _ in range(2):
        assert await world.time_is_over() == 0
    world.stop_fails = False
    assert await world.time_is_over() == 1


async def test_whoever_comes_while_windows_are_looked_at_keeps_it() -> None:
    world = World()
    loop = asyncio.get_running_loop()
    world.while_looked_at = lambda: loop.call_soon_threadsafe(lambda: world.app(running=True, state=AppState.RUNNING))
    assert await world.time_is_over() == 0


async def test_a_policy_that_changed_its_mind_while_windows_were_looked_at_counts() -> None:
    world = World()
    never = ContainerPolicy(users=("alice",))
    world.while_looked_at = lambda: setattr(world.container, "policy", never)
    assert await world.time_is_over() == 0
