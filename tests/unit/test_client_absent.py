"""How isoctl waits for an isod that the bus starts."""

from typing import Any

import pytest

from isoctl import absent, wire

ERROR = "org.freedesktop.DBus.Error."


class FakeBus:
    """A bus on which each ping of isod is answered as told."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.pings = 0

    def send(self, *_call: Any) -> int:
        self.pings += 1
        return self.pings

    def wait_reply(self, serial: int, timeout_sec: float) -> None:
        del timeout_sec
        answer = self._answers[serial - 1]
        if answer:
            raise wire.RemoteError(ERROR + answer, "as the bus says it")


@pytest.fixture(autouse=True)
def nothing_hinders_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absent, "why", lambda _bus: "")
    monkeypatch.setattr(absent, "_LOOK_SEC", 0.0)


@pytest.mark.parametrize("passing", ["NoReply", "Disconnected", "NameHasNoOwner", "TimedOut"])
def test_an_isod_that_goes_away_while_it_is_awaited_is_awaited_again(passing: str) -> None:
    """F10: 2 of 300 launches, with isod killed each 0 to 5 s, ended with the bus's NoReply, one with its TimedOut."""
    bus: Any = FakeBus(passing, passing, "")
    absent.await_isod(bus)
    assert bus.pings == 3


@pytest.mark.parametrize("there", ["", "UnknownObject", "UnknownMethod", "UnknownInterface"])
def test_an_answer_of_any_kind_is_an_answer(there: str) -> None:
    bus: Any = FakeBus(there)
    absent.await_isod(bus)
    assert bus.pings == 1


@pytest.mark.parametrize("lasting", ["AccessDenied", "ServiceUnknown", "Spawn.ExecFailed"])
def test_what_will_not_pass_is_said_at_once(lasting: str) -> None:
    bus: Any = FakeBus(lasting)
    with pytest.raises((wire.RemoteError, wire.WireError)):
        absent.await_isod(bus)
    assert bus.pings == 1
