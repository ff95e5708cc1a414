"""What a reload ends of apps, and when, whatever containers and the host's accounts do meanwhile."""

import asyncio
import os
import pwd
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from core_fakes import CAROL
from isod.core import admission, reload
from isod.core.app import App, AppRecord
from isod.core.container import Container
from isod.policy_loader import LoadResult, Policy, load_policy
from isod.ports import Caller
from isod_contract.errors import IsodError
from isod_contract.states import AppState


class World:
    """Policy of one container, whose app is carol's; it is all the parts that a reload tells of a policy, too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "containers"
        self.directory.mkdir()
        self.stopped: list[str] = []
        self.problems: list[str] = []
        record = AppRecord(
            id="00", container="blog", host_unit="blog.service", machine="blog", owner_uid=CAROL.uid, user="carol",
            argv=("true",), running=True, state=AppState.RUNNING,
        )  # fmt: skip
        self.app = App(record)
        self.write('users = ["alice", "carol"]')
        loaded = self.load(directory)
        self.policy = loaded.policy
        self.container = Container("blog", "blog.service", "blog", self.policy.containers["blog"])
        parts: Any = self
        self.in_force = reload.PolicyInForce(
            directory=directory, loaded=loaded, containers=parts, apps=Apps(self),  # type: ignore[arg-type]
            reconciler=parts, devices=parts, idle=parts, audit=parts,
        )  # fmt: skip

    def write(self, text: str) -> None:
        (self.directory / "blog.toml").write_text(text + "\n")

    @staticmethod
    def load(directory: Path, previous: Policy | None = None) -> LoadResult:
        return load_policy(directory, previous, owners={os.geteuid()})

    async def reload(self, *, dry_run: bool = False) -> list[Mapping[str, object]]:
        changes = await self.in_force.reload(Caller("", 0, "root"), dry_run)
        return [change for change in changes if "app" in change]

    def all(self) -> list[Container]:
        return [self.container]

    async def apply_policy(self, policy: Policy) -> None:
        self.policy = policy
        self.container.policy = policy.containers.get("blog", self.container.policy)

    def policy_changed(self, *_: object) -> None:
        """Take note."""

    def look_at_all(self) -> None:
        """Take note."""

    def shown(self, _container: Container) -> list[Any]:
        return []

    def record(self, *_: object, **_fields: object) -> None:
        """Take note."""


class Apps:
    """The app of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def all(self) -> list[App]:
        return [self._world.app]

    def warn(self, _app: App, error: IsodError) -> None:
        self._world.problems.append(error.text)

    async def stop_all(self, apps: Iterable[App]) -> list[App]:
        for app in apps:
            self._world.stopped.append(app.record.id)
            app.record.running, app.record.state = False, AppState.EXITED
        return []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(reload, "load_policy", World.load)
    monkeypatch.setattr(reload, "caller_of", lambda uid: Caller("", uid, {0: "root", CAROL.uid: "carol"}.get(uid, "")))
    monkeypatch.setattr(reload, "unknown_names", lambda _: {})
    monkeypatch.setattr(reload, "_NAMELESS_WAITS_SEC", (0.0,))
    monkeypatch.setattr(reload, "_DOUBT_WAITS_SEC", (0.0,))
    monkeypatch.setattr(reload, "_DOUBT_LATER_SEC", 0.001)
    return World(tmp_path)


async def test_withdrawn_apps_do_not_wait_for_a_container_that_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hostile one kept the withdrawn apps of all containers alive for as long as a reload asks it."""
    answers = asyncio.Event()

    async def told(*_: object) -> list[Any]:
        await answers.wait()
        return []

    monkeypatch.setattr(world.in_force.keepers, "told", told)
    world.write('users = ["alice"]')
    under_way = asyncio.create_task(world.reload())
    async with asyncio.timeout(30):
        while not world.stopped:
            assert not under_way.done()
            await asyncio.sleep(0.01)
    answers.set()
    (change,) = await under_way
    assert "of carol ends" in str(change["change"])


async def test_sessions_are_looked_at_though_what_is_told_of_them_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new policy was in force, and no app and no session ended."""
    looks: list[str] = []

    async def told(*_: object) -> list[Any]:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(world.in_force.keepers, "told", told)
    monkeypatch.setattr(world.in_force.keepers, "look_at_all", lambda: looks.append("all"))
    world.write('users = ["alice"]')
    with pytest.raises(RuntimeError):
        await world.reload()
    assert (world.stopped, looks) == (["00"], ["all"])


async def test_an_owner_who_cannot_be_looked_up_now_is_not_judged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_uid: int) -> Caller:
        raise RuntimeError("can't start new thread")

    found = reload.caller_of
    monkeypatch.setattr(reload, "caller_of", fail)
    world.write('users = ["alice"]')
    (change,) = await world.reload()
    assert "stays until the host's accounts can be read" in str(change["change"])
    assert change["ends"] is False
    await asyncio.sleep(0.05)
    assert world.stopped == []
    monkeypatch.setattr(reload, "caller_of", found)
    await world.in_force._background.settle()
    assert world.stopped == ["00"]


class Directory:
    """A directory service that has carol, who may be in the group team; it can be down, and root's name stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_down = False
        self.groups = frozenset({"team"})
        self.has_carol = True
        self.asked = 0
        monkeypatch.setattr(reload, "caller_of", self.caller_of)
        monkeypatch.setattr(admission, "caller_of", self.caller_of)
        monkeypatch.setattr(admission.pwd, "getpwnam", self.account)
        monkeypatch.setattr(admission.grp, "getgrnam", self.group)

    def caller_of(self, uid: int) -> Caller:
        if uid == 0:
            return Caller("", 0, "root")
        self.asked += 1
        return (
            Caller("", uid, "carol", groups=self.groups) if self.has_carol and not self.is_down else Caller("", uid, "")
        )

    def account(self, name: str) -> pwd.struct_passwd:
        if self.is_down or not self.has_carol:
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", CAROL.uid, CAROL.uid, "", "/", "/bin/sh"))

    def group(self, name: str) -> str:
        if self.is_down:
            raise KeyError(name)
        return name


class LocalAccount(Directory):
    """One whose groups alone are in the directory service."""

    def caller_of(self, uid: int) -> Caller:
        self.asked += 1
        return Caller("", uid, "carol", groups=frozenset() if self.is_down else self.groups)


@pytest.mark.parametrize("service", [Directory, LocalAccount])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('users = ["carol"]', 'users = ["carol"]'),
        ('users = ["alice", "carol"]', 'users = ["carol"]'),
        ('groups = ["team"]', 'groups = ["team"]'),
        ('ask = ["carol"]', 'groups = ["team"]'),
    ],
)
async def test_a_directory_service_that_fails_ends_no_app_of_an_admitted_user(
    world: World, monkeypatch: pytest.MonkeyPatch, service: type[Directory], before: str, after: str
) -> None:
    """LDAP down at a reload, root in /etc/passwd: apps of its users ended after 1.7 s, with unsaved work."""
    directory = service(monkeypatch)
    world.write(before)
    await world.reload()
    directory.is_down = True
    world.write(after)
    for change in await world.reload():
        assert "if the host's accounts and groups still do not admit them then" in str(change["change"])
    assert world.stopped == []
    directory.is_down = False
    await world.in_force._background.settle()
    assert (world.stopped, world.problems) == ([], [])


@pytest.mark.parametrize(
    ("gone", "looks", "when"), [("membership", 4, "half a minute"), ("account", 8, "four minutes")]
)
async def test_an_app_ends_once_its_owner_is_surely_gone(
    world: World, monkeypatch: pytest.MonkeyPatch, gone: str, looks: int, when: str
) -> None:
    directory = Directory(monkeypatch)
    world.write('groups = ["team"]')
    await world.reload()
    directory.groups = frozenset()
    directory.has_carol = gone != "account"
    directory.asked = 0
    for is_dry in (True, False):
        (change,) = await world.reload(dry_run=is_dry)
        assert f"of {'carol' if directory.has_carol else CAROL.uid} ends in {when}" in str(change["change"])
        assert world.stopped == []
    await world.in_force._background.settle()
    assert world.stopped == ["00"]
    assert directory.asked >= looks


async def test_a_group_that_policy_no_longer_names_ends_apps_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    Directory(monkeypatch)
    world.write('groups = ["team"]')
    await world.reload()
    world.write('groups = ["other"]')
    (change,) = await world.reload()
    assert "of carol ends:" in str(change["change"])
    assert world.stopped == ["00"]


async def test_a_policy_that_admits_again_ends_the_doubt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "_DOUBT_LATER_SEC", 0.02)
    directory = Directory(monkeypatch)
    directory.groups = frozenset()
    world.write('groups = ["team"]')
    assert len(await world.reload()) == 1
    world.write('users = ["carol"]')
    assert await world.reload() == []
    await world.in_force._background.settle()
    assert world.stopped == []
