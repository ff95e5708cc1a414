"""A systemd that executes itself anew: what was asked of it meanwhile is asked again, what was missed is looked up."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from isod.host import patient_calls
from isod.host.jobs import Jobs
from isod.host.patient_calls import PatientCalls
from isod.host.unitpath import MANAGER_INTERFACE, SYSTEMD, SYSTEMD_PATH, unit_path
from isod_wire import Message, RemoteError, Variant

pytestmark = pytest.mark.asyncio
_ERROR = "org.freedesktop.DBus.Error."


class Reply:
    """An answer, as far as it is looked at."""

    def __init__(self, *body: Any) -> None:
        self.body = list(body)

    def __enter__(self) -> "Reply":
        return self

    def __exit__(self, *_: object) -> None:
        """Hold nothing."""


class Bus:
    """Answers by a function of member and path; `errors` come first, one a call."""

    def __init__(self, answer: Callable[[str, str], Any], errors: Sequence[str] = ()) -> None:
        self.answer, self.errors = answer, list(errors)
        self.calls: list[str] = []
        self.handlers: list[Callable[[Any], None]] = []

    async def call(self, _destination: str | None, path: str, _interface: str, member: str, *_: Any, **__: Any) -> Any:
        self.calls.append(member)
        if self.errors:
            raise RemoteError(_ERROR + self.errors.pop(0), "Message recipient disconnected")
        return self.answer(member, path)

    async def add_match(self, _rule: Any, handler: Callable[[Any], None]) -> Any:
        self.handlers.append(handler)


def patient(bus: Any) -> PatientCalls:
    return PatientCalls(bus)


async def ask(calls: PatientCalls, destination: str = SYSTEMD) -> Message:
    return await calls.call(destination, SYSTEMD_PATH, MANAGER_INTERFACE, "GetUnit")


@pytest.mark.parametrize("error", ["NoReply", "Disconnected", "NameHasNoOwner", "ServiceUnknown"])
async def test_it_is_asked_again_until_it_is_back(error: str) -> None:
    """F9: 24 of 100 launches failed, as "your credentials can't be established" or "its systemd refused the app"."""
    bus = Bus(lambda _member, _path: Reply("done"), [error] * 3)
    assert (await ask(patient(bus))).body == ["done"]
    assert len(bus.calls) == 4


async def test_its_own_refusals_and_other_services_are_not_asked_again() -> None:
    bus = Bus(lambda _member, _path: Reply("done"), ["AccessDenied", "NoReply"])
    with pytest.raises(RemoteError, match="AccessDenied"):
        await ask(patient(bus))
    with pytest.raises(RemoteError, match="NoReply"):
        await ask(patient(bus), "org.freedesktop.login1")
    assert len(bus.calls) == 2


async def test_one_that_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_calls, "_PATIENCE_SEC", 0.2)
    bus = Bus(lambda _member, _path: Reply("done"), ["NoReply"] * 100)
    with pytest.raises(RemoteError, match="NoReply"):
        await ask(patient(bus))


@pytest.mark.parametrize(
    ("member", "state", "result"),
    [
        ("StartUnit", "active", "done"),
        ("StartUnit", "failed", "failed"),
        ("StopUnit", "inactive", "done"),
        ("StopUnit", "active", "failed"),
    ],
)
async def test_a_job_that_ended_while_it_was_away_is_settled(member: str, state: str, result: str) -> None:
    """F9, as a kind: whoever waited for the signal of its end waited for ever."""

    def answer(asked: str, path: str) -> Any:
        if asked == member:
            return Reply("/org/freedesktop/systemd1/job/1")
        if path == "/org/freedesktop/systemd1/job/1":
            raise RemoteError(_ERROR + "UnknownObject", "no such job")
        assert path == unit_path("x.service")
        return Reply({"ActiveState": Variant("s", state)})

    bus: Any = Bus(answer)
    jobs = Jobs(bus)
    future = await jobs.queue(member, "ss", ["x.service", "replace"])
    assert not future.done()
    await jobs.look_again()
    assert await asyncio.wait_for(future, 1) == result


async def test_a_job_that_goes_on_is_waited_for() -> None:
    bus: Any = Bus(
        lambda member, _path: Reply("/org/freedesktop/systemd1/job/1") if member == "StartUnit" else Reply({})
    )
    jobs = Jobs(bus)
    future = await jobs.queue("StartUnit", "ss", ["x.service", "replace"])
    await jobs.look_again()
    assert not future.done()
