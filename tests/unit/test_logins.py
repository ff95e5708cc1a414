"""Who logs in and who leaves, and the containers that start with it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from isod.core import autostart as module
from isod.core.autostart import Autostart
from isod.core.container import Container
from isod.core.logins import LoginWatch
from isod.policy import ContainerPolicy
from isod.ports import Caller, Login
from isod_contract.states import ContainerState


class FakeLogind:
    """Sessions by id."""

    def __init__(self, **sessions: int) -> None:
        self.sessions: dict[str, int] | None = dict(sessions)
        self.changed: Any = None

    async def uids(self) -> set[int] | None:
        return None if self.sessions is None else set(self.sessions.values())

    async def logins(self) -> Sequence[Login] | None:
        return None if self.sessions is None else [Login(name, uid) for name, uid in self.sessions.items()]

    async def watch(self, changed: Any) -> None:
        self.changed = changed


class Seen:
    """A watch, and what it told."""

    def __init__(self, logind: FakeLogind, path: Path) -> None:
        self.logind = logind
        self.told: list[tuple[str, int]] = []
        self.watch = LoginWatch(logind, path)
        self.watch.listen(
            arrived=lambda uid: self.told.append(("in", uid)), departed=lambda uid: self.told.append(("out", uid))
        )

    async def opened(self) -> list[tuple[str, int]]:
        await self.watch.open()
        return await self.after()

    async def after(self, **sessions: int) -> list[tuple[str, int]]:
        if sessions:
            self.logind.sessions = dict(sessions)
            self.logind.changed()
        while (task := self.watch._looking) is not None:
            await asyncio.wait({task})
        told, self.told = self.told, []
        return told


async def test_first_and_last_sessions_are_told_once(tmp_path: Path) -> None:
    seen = Seen(FakeLogind(c1=1000), tmp_path / "logins.json")
    assert await seen.opened() == [("in", 1000)]
    assert await seen.after(c1=1000, c2=1000) == []
    assert await seen.after(c2=1000, c3=1001) == [("in", 1001)]
    assert await seen.after(c3=1001) == [("out", 1000)]


async def test_a_new_login_right_after_the_old_one_is_a_new_one(tmp_path: Path) -> None:
    seen = Seen(FakeLogind(c1=1000), tmp_path / "logins.json")
    await seen.opened()
    assert await seen.after(c2=1000) == [("in", 1000)]


async def test_a_restarted_isod_tells_only_of_what_it_missed(tmp_path: Path) -> None:
    path = tmp_path / "logins.json"
    await Seen(FakeLogind(c1=1000, c2=1001), path).opened()
    assert await Seen(FakeLogind(c1=1000, c2=1001), path).opened() == []
    assert sorted(await Seen(FakeLogind(c1=1000, c3=1003), path).opened()) == [("in", 1003), ("out", 1001)]


@pytest.mark.parametrize("spoiled", ["", "[]", "{", '{"c1": "x"}', "7"])
async def test_a_spoiled_record_counts_as_none(tmp_path: Path, spoiled: str) -> None:
    path = tmp_path / "logins.json"
    path.write_text(spoiled)
    assert await Seen(FakeLogind(c1=1000), path).opened() == [("in", 1000)]


async def test_a_logind_that_does_not_answer_tells_nothing(tmp_path: Path) -> None:
    seen = Seen(FakeLogind(c1=1000), tmp_path / "logins.json")
    await seen.opened()
    seen.logind.sessions = None
    seen.logind.changed()
    assert await seen.after() == []
    assert await seen.after(c1=1000) == []


class FakeContainers:
    """Containers that note who started them."""

    def __init__(self, *policies: ContainerPolicy) -> None:
        self.known = [Container(f"c{n}", f"c{n}.service", f"c{n}", policy) for n, policy in enumerate(policies)]
        self.started: list[tuple[str, int]] = []

    def visible(self, caller: Caller) -> list[Container]:
        return [c for c in self.known if caller.user in (*c.policy.users, *c.policy.ask)]

    async def start(self, container: Container, caller: Caller) -> None:
        self.started.append((container.name, caller.uid))


def policy(*, autostart: bool = True, **lists: list[str]) -> ContainerPolicy:
    return ContainerPolicy.model_validate({"autostart": autostart, **lists})


async def test_a_login_starts_what_policy_says_and_the_user_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "caller_of", lambda uid: Caller("", uid, {1000: "alice"}[uid]))
    containers: Any = FakeContainers(
        policy(users=["alice"]),
        policy(users=["alice"], autostart=False),
        policy(ask=["alice"]),  # nobody may be asked for a password at login
        policy(users=["bob"]),
        policy(users=["alice"]),
    )
    containers.known[4].state = ContainerState.RUNNING
    seen = Seen(FakeLogind(c1=1000), tmp_path / "logins.json")
    autostart = Autostart(containers=containers, logins=seen.watch)
    await seen.opened()
    await autostart._background.settle()
    assert containers.started == [("c0", 1000)]
