"""How isod reads what checks look at: for the caller, from what runs, without making anything right."""

import os
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from core_fakes import ALICE, FakeGuest
from isod.core import inspect as inspect_module
from isod.core import reload as reload_module
from isod.core.container import Container
from isod.core.inspect import Inspector
from isod.core.reload import PolicyInForce
from isod.device_ports import UnmetDevices
from isod.policy import ContainerPolicy
from isod.policy_loader import load_policy
from isod.policy_view import PolicyView
from isod.ports import LiveSession, UnitSettings
from isod.survey_ports import Inside, Places
from isod_contract.errors import UnsafePath
from isod_contract.options import CheckOptions

SETTINGS = UnitSettings(
    load_state="loaded",
    active_state="active",
    needs_reload=False,
    device_policy="closed",
    device_allow=(("/dev/net/tun", "rwm"),),
    command=(),
)
WELL = frozenset({"session-bus", "pam-systemd", "zoneinfo", "localtime"})
SESSION = LiveSession(caller=ALICE, environment={"LANG": "fr_FR.UTF-8"}, wayland="context")

pytestmark = pytest.mark.asyncio


class Guest(FakeGuest):
    """A running container that a surveyor can look into."""

    def __init__(self, *locales: str, uid_shift: int = 0) -> None:
        super().__init__(uid_shift=uid_shift)
        self.root_fd = -1
        self.pidfd = -1
        self.offload: Any = self
        self._locales = frozenset(locales)

    async def run(self, work: Any) -> Any:
        return work()

    async def has_unit(self, _unit: str) -> bool:
        return True

    async def locales(self) -> frozenset[str]:
        return self._locales

    def places(self) -> Places:
        return Places()


class Parts:
    """An inspector, and all that it asks."""

    def __init__(self, guest: Guest | None, session: LiveSession | None = None) -> None:
        self.container = Container("blog", "container@blog.service", "blog", ContainerPolicy(users=("alice",)))
        self.container.guest = guest
        self.session = session
        self.present = WELL
        self.attached: list[dict[str, str]] = []
        self.identity: tuple[int, int] | None = (1, 1)
        parts: Any = self
        self.inspector = Inspector(
            containers=parts,
            reconciler=parts,
            sessions=parts,
            units=parts,
            directories=parts,
            surveyor=parts,
            guard=parts,
            devices=parts,
            look_at_policy=self.look_at_policy,
        )

    def visible(self, _caller: Any) -> list[Container]:
        return [self.container]

    def find(self, _uid: int) -> LiveSession | None:
        return self.session

    async def wait_for(self, _uid: int) -> LiveSession | None:
        return self.session

    async def settings(self, _unit: str) -> UnitSettings:
        return SETTINGS

    def attachments(self, _container: Any, _caller: Any) -> list[dict[str, str]]:
        return self.attached

    def identity_inside(self, _root_fd: int, _uid: int, _name: str) -> tuple[int, int] | None:
        return self.identity

    def look(self, _guest: Any, _account: Any, wanted: dict[str, tuple[str, ...]]) -> Inside:
        assert wanted.keys() >= WELL
        return Inside(present=self.present)

    def look_at_places(self, guest: Any, _account: Any) -> Places:
        return guest.places()

    def unmet(self, _container: Container) -> UnmetDevices:
        return UnmetDevices()

    async def look_at_policy(self) -> PolicyView:
        return PolicyView()

    async def codes(self, *hints: str) -> list[str]:
        options = CheckOptions(hints=hints or None)
        return [item.code for item in await self.inspector.container(self.container, ALICE, options)]


async def test_what_does_not_run_is_not_looked_into() -> None:
    assert await Parts(None).codes() == []


async def test_a_container_that_is_well_has_no_finding() -> None:
    assert await Parts(Guest("de_DE.utf8", "fr_FR.utf8"), SESSION).codes("LANG=de_DE.UTF-8") == []


async def test_the_callers_language_counts_over_his_sessions() -> None:
    assert await Parts(Guest("de_DE.utf8"), SESSION).codes() == ["locale-missing"]
    assert await Parts(Guest("de_DE.utf8"), SESSION).codes("LANG=de_DE.UTF-8") == []
    assert await Parts(Guest("fr_FR.utf8"), SESSION).codes("LANG=de_DE.UTF-8") == ["locale-missing"]


async def test_a_terminal_that_is_not_known_inside_is_found() -> None:
    """N24: doctor said "nothing wrong found" of foot, kitty and alacritty."""
    assert await Parts(Guest()).codes("TERM=foot") == ["terminfo-missing"]
    for hint in ("TERM=xterm", "TERM=", "NO_COLOR=1"):
        assert await Parts(Guest()).codes(hint) == []


async def test_an_attached_display_that_is_not_there_is_found() -> None:
    parts = Parts(Guest("fr_FR.utf8"), SESSION)
    parts.attached = [{"resource": "wayland", "uid": "1000", "what": "a context"}]
    assert await parts.codes() == []
    parts.identity = None
    assert await parts.codes() == ["display-socket-missing"]


async def test_files_that_never_answer_cost_no_other_finding() -> None:
    """A check that can't answer says so in its own line, and does not spoil the rest."""

    class Hung(Guest):
        def places(self) -> Places:
            raise UnsafePath(path="/", container="blog", reason="no answer within 5 s")

    parts = Parts(Hung("de_DE.utf8"), SESSION)
    (locale, unseen) = await parts.inspector.container(parts.container, ALICE, CheckOptions())
    assert locale.code == "locale-missing"
    assert unseen.code == "not-looked-at"
    assert "no answer within 5 s" in unseen.what


async def test_an_account_that_is_somebody_else_on_the_host_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_module, "login_user", lambda uid: {1001: "bob"}.get(uid, ""))
    for uid, shift, expected in ((1001, 0, ["account-of-another"]), (1001, 65536, ["account-uid"]), (1000, 0, [])):
        guest = Guest(uid_shift=shift)
        account = guest.accounts["alice"]
        guest.accounts["alice"] = type(account)("alice", uid, uid, account.home, account.shell)
        assert await Parts(guest).codes() == expected


async def test_policy_files_are_not_read_for_each_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask, as often as the limits let him."""
    (tmp_path / "containers").mkdir()
    reads: list[Path] = []

    def load(directory: Path, previous: Any = None) -> Any:
        reads.append(directory)
        return load_policy(directory, previous, owners={os.geteuid()})

    monkeypatch.setattr(reload_module, "load_policy", load)
    parts: dict[str, Any] = dict.fromkeys(signature(PolicyInForce).parameters)
    policy = PolicyInForce(**parts | {"directory": tmp_path, "loaded": load(tmp_path)})
    reads.clear()
    assert [await policy.look() for _ in range(100)] == [PolicyView()] * 100
    assert len(reads) == 1
    (tmp_path / "containers/blog.toml").write_text("users = 7\n")
    (tmp_path / "containers/shop.toml").write_text('users = ["alice"]\n')
    monkeypatch.setattr(reload_module, "_LOOK_AGAIN_SEC", 0.0)
    seen = await policy.look()
    (problem,) = seen.problems
    assert "blog.toml:1" in str(problem)
    assert seen.is_stale
