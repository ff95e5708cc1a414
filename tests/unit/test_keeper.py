"""The session that a container's own logind opens for an account, on machines fast and slow."""

from typing import Any

import pytest

from core_fakes import FakeGuest
from display_fakes import FakeOffload
from isod.core import prepare
from isod.ports import Account
from isod_contract.errors import StartFailed

ALICE = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")
KEEPER = "isoctl-session-1000.service"


class Logind(FakeGuest):
    """Has the runtime directory made when the keeper has been left alone for so many looks; it is the files as well."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.offload = FakeOffload()
        self.looks = looks
        self.looked = 0
        self.restarts = 0
        self.has_pam = True
        self.logins = self
        self.sessions: set[int] = set()

    async def has_session(self, uid: int) -> bool:
        return uid in self.sessions

    async def has_unit(self, _unit: str) -> bool:
        return True

    async def queue_existing(self, _member: str, unit: str) -> None:
        assert unit == KEEPER
        self.restarts += 1
        self.looked = 0

    def prepare_nix_and_check(self, *_: Any) -> bool:
        return False

    def has_any(self, _guest: Any, paths: Any) -> bool:
        assert "usr/lib/x86_64-linux-gnu/security/pam_systemd.so" in paths
        return self.has_pam

    def runtime_ready(self, *_: Any) -> bool:
        self.looked += 1
        return self.looked > self.looks


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "_KEEPER_WAITS_SEC", tuple(sec / 100 for sec in prepare._KEEPER_WAITS_SEC))
    monkeypatch.setattr(prepare, "_KEEPER_RECHECK_SEC", 0.001)


async def opened(looks: int) -> Logind:
    guest = Logind(looks)
    files: Any = guest
    await prepare.Prepare(files).run(guest, ALICE, "blog")
    return guest


async def test_a_session_that_opens_is_left_alone() -> None:
    guest = await opened(2)
    assert guest.restarts == 0
    assert [unit for unit, _, _ in guest.started] == [KEEPER]


async def test_a_slow_machine_is_given_more_time_with_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each restart would take back what the one before had nearly done."""
    monkeypatch.setattr(prepare, "_KEEPER_WAITS_SEC", (0.0, 0.0, 30.0))
    assert (await opened(50)).restarts == 2


async def test_one_that_never_opens_is_told() -> None:
    with pytest.raises(StartFailed, match="opens no session for alice"):
        await opened(1_000_000)


async def test_one_that_can_never_open_is_told_after_the_first_wait() -> None:
    """N17: 45 s, and then the name of a unit inside."""
    guest = Logind(1_000_000)
    guest.has_pam = False
    files: Any = guest
    with pytest.raises(StartFailed, match=r"no pam_systemd.so.*; install libpam-systemd"):
        await prepare.Prepare(files).run(guest, ALICE, "blog")
    assert guest.restarts == 0


async def test_one_who_is_let_in_again_gets_a_session_though_the_directory_is_still_there() -> None:
    """Else logind takes it away ten seconds after the session that isod ended, from under what runs by then."""

    class Left(Logind):
        def prepare_nix_and_check(self, *_: Any) -> bool:
            return True

    guest = Left(0)
    guest.sessions = {ALICE.uid}
    files: Any = guest
    prepared = prepare.Prepare(files)
    await prepared.run(guest, ALICE, "blog")
    assert guest.started == []
    guest.ended_sessions.add(ALICE.uid)
    for _ in range(2):
        await prepared.run(guest, ALICE, "blog")
        assert [unit for unit, _, _ in guest.started] == [KEEPER]


@pytest.mark.parametrize("lacks", ["keeper", "session"])
async def test_one_who_is_let_in_again_waits_for_the_session_and_not_for_the_directory_of_the_last(lacks: str) -> None:
    """One that hangs in PAM was never restarted, and logind took the directory from under what ran by then."""

    class Hanging(Logind):
        async def queue_existing(self, member: str, unit: str) -> None:
            await super().queue_existing(member, unit)
            if self.restarts == 2:
                self.tell(KEEPER, ActiveState="active")
                self.sessions.add(ALICE.uid)

    guest = Hanging(0)
    guest.ended_sessions.add(ALICE.uid)
    guest.tell(KEEPER, ActiveState="active" if lacks == "session" else "activating")
    guest.sessions = {ALICE.uid} if lacks == "keeper" else set()
    files: Any = guest
    await prepare.Prepare(files).run(guest, ALICE, "blog")
    assert guest.restarts == 2
    assert guest.ended_sessions == set()


async def test_one_who_is_let_in_again_and_gets_no_session_is_told() -> None:
    guest = Logind(0)
    guest.ended_sessions.add(ALICE.uid)
    files: Any = guest
    with pytest.raises(StartFailed, match="opens no session for alice"):
        await prepare.Prepare(files).run(guest, ALICE, "blog")
    assert guest.ended_sessions == {ALICE.uid}
