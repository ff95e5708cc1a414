"""The sessions that isod holds open inside for accounts, when policy no longer admits anybody as them."""

import asyncio
import pwd
from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest

from isod.core import admission, keepers
from isod.core.app import App, AppRecord
from isod.core.container import Container
from isod.core.containers import Containers
from isod.core.events import Events
from isod.policy import ContainerPolicy
from isod.policy_loader import Policy
from isod.ports import Account, Caller
from isod_contract.errors import ContainerGone
from isod_contract.names import keeper_unit
from isod_contract.records import Record
from isod_contract.states import AppState, ContainerState

UNIT = "container@blog.service"
UIDS = {"root": 0, "alice": 1000, "carol": 1003, "dev": 2000, "ghost": 3000}
HOST = {"alice": 1000, "carol": 1003}  # who has an account on the host


class Guest:
    """A container's systemd with these sessions."""

    invocation_id = "1"

    def __init__(self, *accounts: str) -> None:
        self.sessions = {keeper_unit(UIDS[name]): name for name in accounts}
        self.stopped: list[str] = []
        self.keeps = False
        self.ended_sessions: set[int] = set()
        self.hangs = 0
        self.on_list: Callable[[], None] = lambda: None

    def on_closed(self, _: Callable[[], None]) -> None:
        """Stay."""

    async def running_units(self, pattern: str) -> list[str]:
        assert pattern == "isoctl-session-*.service"
        if self.hangs:
            self.hangs -= 1
            raise ContainerGone(container="blog", reason="its systemd does not answer")
        self.on_list()
        return list(self.sessions)

    async def unit_properties(self, unit: str, interface: str) -> dict[str, Any]:
        assert interface == "Service"
        return {"User": self.sessions[unit]}

    async def account(self, name: str) -> Account | None:
        return Account(name, UIDS[name], UIDS[name], "/", "/bin/sh") if name in UIDS else None

    async def stop_unit(self, unit: str) -> None:
        self.stopped.append(self.sessions[unit])
        if not self.keeps:
            del self.sessions[unit]


class World:
    """One container and its apps."""

    def __init__(self, guest: Guest, policy: ContainerPolicy) -> None:
        self.container = Container("blog", UNIT, "blog", policy)
        self.container.state = ContainerState.RUNNING
        self.container.guest = self.guest = guest  # type: ignore[assignment]
        self.apps: list[App] = []
        self.records: list[tuple[str, str]] = []
        self.is_read = True  # its policy file
        self.keepers = keepers.Keepers(containers=self, apps=Apps(self.apps), audit=self)  # type: ignore[arg-type]

    def all(self) -> list[Container]:
        return [self.container]

    @property
    def policy(self) -> Policy:
        return Policy({"blog": self.container.policy} if self.is_read else {})

    def record(self, kind: Record, **fields: object) -> None:
        self.records.append((kind.name, str(fields["account"])))

    def app(self, account: str) -> App:
        record = AppRecord(
            id="00", container="blog", host_unit=UNIT, machine="blog", owner_uid=1, user=account, argv=("true",)
        )
        record.running, record.state = True, AppState.RUNNING
        self.apps.append(App(record))
        return self.apps[-1]

    async def policy_changed(self) -> list[str]:
        self.keepers.look_at_all()
        await self.keepers._background.settle()
        return self.guest.stopped


class Apps:
    """The apps of a world."""

    def __init__(self, apps: list[App]) -> None:
        self._apps = apps

    def all(self) -> list[App]:
        return self._apps


class Accounts:
    """The host's accounts and groups; while they fail, nobody is known, as the pwd and grp modules have it."""

    def __init__(self) -> None:
        self.fails_for = 0

    def look_up(self, name: str) -> pwd.struct_passwd:
        if self.fails_for:
            self.fails_for -= 1
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", HOST[name], HOST[name], "", "/", "/bin/sh"))

    def caller_of(self, uid: int) -> Caller:
        name = next(name for name in HOST if HOST[name] == uid)
        return Caller("", uid, name, groups=frozenset({"team"} if name == "carol" else ()))

    def group(self, name: str) -> str:
        return {"team": name}[name]


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> Accounts:
    accounts = Accounts()
    monkeypatch.setattr(admission.pwd, "getpwnam", accounts.look_up)
    monkeypatch.setattr(admission.grp, "getgrnam", accounts.group)
    monkeypatch.setattr(admission, "caller_of", accounts.caller_of)
    monkeypatch.setattr(keepers, "_WAITS_SEC", (0.0, 0.0, 0.01))
    monkeypatch.setattr(keepers, "_LATER_SEC", 0.01)
    return accounts


@pytest.mark.parametrize(
    ("policy", "ended"),
    [
        ({"users": ("alice",)}, {"carol", "dev", "ghost"}),
        ({"users": ("alice",), "groups": ("team",)}, {"dev", "ghost"}),
        ({"ask": ("carol",)}, {"alice", "dev", "ghost"}),
        # All as one account: nobody has their own.
        ({"users": ("alice", "carol"), "user": "dev", "shared_account": True}, {"alice", "carol", "ghost"}),
        # Whoever may be root may be anybody.
        ({"users": ("alice",), "grants": {"root": "yes"}}, set()),
        ({}, {"alice", "carol", "dev", "ghost"}),
    ],
)
async def test_a_session_ends_when_nobody_may_have_apps_as_its_account(policy: dict[str, Any], ended: set[str]) -> None:
    """N28: those of withdrawn users stayed until the container stopped."""
    world = World(Guest(*UIDS), ContainerPolicy.model_validate(policy))
    assert set(await world.policy_changed()) == ended
    assert set(world.records) == {("session-end", account) for account in ended}
    assert world.guest.ended_sessions == {UIDS[account] for account in ended}


@pytest.mark.parametrize("policy", [{"users": ("alice",)}, {"ask": ("alice",)}, {"groups": ("team",)}])
async def test_a_directory_service_that_fails_ends_no_session(host: Accounts, policy: dict[str, Any]) -> None:
    """Down at a reload, or isod out of descriptors: it looks as if there were no such account, and all lost theirs."""
    host.fails_for = 5
    member = "carol" if "groups" in policy else "alice"
    assert await World(Guest(member), ContainerPolicy.model_validate(policy)).policy_changed() == []
    # Nor does it save one whom policy does not name.
    if "groups" not in policy:
        host.fails_for = 1000
        assert await World(Guest("carol"), ContainerPolicy.model_validate(policy)).policy_changed() == ["carol"]


async def test_a_container_that_was_away_is_looked_at_as_soon_as_it_answers() -> None:
    """When it is connected again, and after a restart of isod, whose policy may be another by then."""
    world = World(Guest("alice", "carol"), ContainerPolicy(users=("alice",)))
    world.container.guest = None
    assert await world.policy_changed() == []
    world.container.guest = world.guest  # type: ignore[assignment]
    world.keepers.look_at(world.container)
    await world.keepers._background.settle()
    assert world.guest.stopped == ["carol"]


async def test_what_ends_is_told_beforehand_and_ends_nothing() -> None:
    """A reload said that programs of theirs stay, and never that a session ends."""
    before = ContainerPolicy(users=("alice", "carol"))
    world = World(Guest("alice", "carol"), before)
    after = ContainerPolicy(users=("alice",))
    assert await world.keepers.told({"blog": before}) == []
    (told,) = await world.keepers.told({"blog": after})
    what = "the session of carol inside ends, with what D-Bus or systemd started there"
    assert told == {"container": "blog", "key": "session", "change": what, "ends": True}
    world.guest.hangs = 1
    (told,) = await world.keepers.told({"blog": after})
    assert "as soon as it does" in str(told["change"])
    assert (world.guest.stopped, world.records) == ([], [])


async def test_a_session_that_ends_by_its_group_alone_is_told() -> None:
    """`gpasswd -d alice team; isoctl reload`: policy is the same, the session ended and nothing named it."""
    world = World(Guest("alice", "carol"), ContainerPolicy(groups=("team",)))
    (told,) = await world.keepers.told({"blog": world.container.policy})
    assert "the session of alice inside ends" in str(told["change"])


@pytest.mark.parametrize("when", ["at first", "meanwhile"])
async def test_no_session_ends_without_a_policy_file_that_is_read(when: str) -> None:
    """After a restart of isod with a typo in it: all seemed to be withdrawn, and lost what they had open."""
    world = World(Guest("alice"), ContainerPolicy())
    world.is_read = when != "at first"
    world.guest.on_list = lambda: setattr(world, "is_read", False)
    assert await world.policy_changed() == []
    assert world.records == []
    world.guest.on_list = lambda: None
    world.is_read = True
    assert await world.policy_changed() == ["alice"]


async def test_a_policy_that_changes_while_a_container_is_looked_at_ends_nothing_by_the_old_one() -> None:
    guest = Guest("alice")
    world = World(guest, ContainerPolicy())
    guest.on_list = lambda: setattr(world.container, "policy", ContainerPolicy(users=("alice",)))
    assert await world.policy_changed() == []


@pytest.mark.attack("C21")
async def test_a_container_that_keeps_a_session_has_its_end_recorded_once() -> None:
    """Each account that it invents made a record a minute, of an end that did not come."""
    guest = Guest("carol")
    guest.keeps = True
    world = World(guest, ContainerPolicy(users=("alice",)))
    for _ in range(2):
        world.keepers.look_at_all()
        async with asyncio.timeout(30):
            before = len(guest.stopped)
            while len(guest.stopped) < before + 3:
                await asyncio.sleep(0.01)
    assert world.records == [("session-end", "carol")]
    # isod opened another one, since policy let them in again meanwhile: its end is another.
    guest.ended_sessions.discard(UIDS["carol"])
    guest.keeps = False
    assert (await world.policy_changed())[-1] == "carol"
    assert world.records == [("session-end", "carol")] * 2


@pytest.mark.attack("C21")
async def test_a_container_that_invents_accounts_without_end_does_not_fill_the_audit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keepers, "_UNITS_MAX", 2)
    world = World(Guest(*(name for name in UIDS if name != "root")), ContainerPolicy(users=("root",)))
    assert len(await world.policy_changed()) == 4
    assert len(world.records) == 2


async def test_a_fault_of_isods_costs_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of threads for a moment: the session stayed for good, and a reload failed with the new policy in force."""
    world = World(Guest("carol"), ContainerPolicy(users=("alice",)))
    faults = iter([RuntimeError("can't start new thread")] * 2)

    def fail() -> None:
        for fault in faults:
            raise fault

    world.guest.on_list = fail
    (told,) = await world.keepers.told({"blog": world.container.policy})
    assert "could not be read" in str(told["change"])
    assert await world.policy_changed() == ["carol"]


async def test_a_session_waits_for_the_apps_of_its_account() -> None:
    """What they run is ended by whoever took their leave; one that hangs is ended later, and the session after it."""
    guest = Guest("carol")
    world = World(guest, ContainerPolicy(users=("alice",)))
    app = world.app("carol")
    seen: list[list[str]] = []

    def look() -> None:
        seen.append(list(guest.stopped))
        if len(seen) == 5:
            app.record.running, app.record.state = False, AppState.EXITED

    guest.on_list = look
    assert await world.policy_changed() == ["carol"]
    assert seen[:5] == [[]] * 5


async def test_a_container_that_hangs_is_asked_again() -> None:
    guest = Guest("carol")
    guest.hangs = 4
    assert await World(guest, ContainerPolicy(users=("alice",))).policy_changed() == ["carol"]


async def test_nothing_is_ended_in_a_container_that_was_started_anew_meanwhile() -> None:
    guest = Guest("carol")
    world = World(guest, ContainerPolicy(users=("alice",)))
    guest.on_list = lambda: setattr(world.container, "guest", Guest("carol"))
    assert await world.policy_changed() == []


async def test_a_user_who_is_admitted_again_keeps_theirs() -> None:
    guest = Guest("carol")
    world = World(guest, ContainerPolicy(users=("alice",)))
    world.app("carol")
    world.keepers.look_at_all()
    await asyncio.sleep(0.05)
    world.container.policy = ContainerPolicy(users=("alice", "carol"))
    assert await world.policy_changed() == []


@pytest.mark.attack("C21")
async def test_a_container_that_lies_about_its_units_has_nothing_else_stopped() -> None:
    guest = Guest()
    # Whose unit it is said to be must be that account, and a name must be one.
    guest.sessions = {
        "isoctl-session-1003.service": "alice",
        "isoctl-session-99999999999.service": "carol",
        "isoctl-session-1003.service\nx": "carol",
        "ssh.service": "carol",
        "isoctl-session-4.service": "nobody",
    }
    assert await World(guest, ContainerPolicy(users=("alice",))).policy_changed() == []


async def test_each_connection_to_a_container_has_its_sessions_looked_at() -> None:
    world = World(Guest("carol"), ContainerPolicy(users=("alice",)))
    parts: dict[str, Any] = dict.fromkeys(signature(Containers).parameters)
    followed = Containers(**parts | {"policy": Policy({}), "events": Events()})
    followed.look_at_sessions = world.keepers.look_at
    world.container.guest = None
    followed._connected(world.container, world.guest)  # type: ignore[arg-type]
    await world.keepers._background.settle()
    assert world.guest.stopped == ["carol"]
