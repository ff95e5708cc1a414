"""Whose an app is, while the host's accounts can't be read: the pwd module has one error for that and for none."""

import pytest

from isod.core import reload
from isod.ports import Caller


class Accounts:
    """Accounts of a host that give no name for a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_for: int) -> None:
        self.fails_for = fails_for
        monkeypatch.setattr(reload, "caller_of", self.caller_of)
        monkeypatch.setattr(reload, "_NAMELESS_WAITS_SEC", (0.0, 0.0))

    def caller_of(self, uid: int) -> Caller:
        self.fails_for -= 1
        return Caller("", uid, {0: "root", 1000: "alice"}.get(uid, "") if self.fails_for < 0 else "")


async def test_a_look_up_that_fails_for_a_moment_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload ended the apps of admitted users, since policy admits nobody without a name."""
    Accounts(monkeypatch, fails_for=2)
    owner = await reload._owner(1000)
    assert owner is not None
    assert owner.user == "alice"


async def test_nobody_is_judged_while_no_account_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an isod without descriptors: even root has no name."""
    Accounts(monkeypatch, fails_for=1000)
    assert await reload._owner(1000) is None


async def test_who_has_no_account_any_more_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    Accounts(monkeypatch, fails_for=0)
    owner = await reload._owner(4711)
    assert owner is not None
    assert owner.user == ""
