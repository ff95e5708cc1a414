"""Why isod does not answer; loaded only where it does not."""

import subprocess
import time

from isoctl import wire
from isoctl.contract_generated import BUS_NAME
from isoctl.marshal import plain
from isoctl.render import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNIT = "isod.service"
_SYSTEMD = "org.freedesktop.systemd1"
_UNIT_PATH = "/org/freedesktop/systemd1/unit/isod_2eservice"
_ANSWER_SEC = 2.0
_LOOK_SEC = 0.5
_FIRST_LOOK_SEC = 1.0
# systemd starts it again and again; isod has the count set back each time that it is ready.
_FAILED_STARTS = 3
_EXITED = 1  # CLD_EXITED of waitid(2), which is what systemd's ExecMainCode is
# For isod to be started and ready, and for its answer.
_PATIENCE_SEC = 30.0


def why(bus: wire.Bus) -> str:
    """Say in one line why isod can't run, with what it said last if that can be read; "" if it may yet come."""
    unit = _properties(bus)
    state, load = unit.get("ActiveState", ""), unit.get("LoadState", "")
    if load == "masked":
        fact = f"{_UNIT} is masked"
    elif load == "not-found":
        fact = f"{_UNIT} is not installed"
    elif state == "failed":
        fact = f"{_UNIT} failed{_said(unit)}"
    elif _gives_up(unit):
        fact = f"{_UNIT} does not stay up{_said(unit)}"
    else:
        return ""
    return f"{fact}; `isoctl doctor` says what to do"


def _gives_up(unit: "dict[str, Any]") -> bool:
    """Tell whether isod itself ended each start so far; whoever kills it may stop doing so, and then it comes."""
    has_ended = unit.get("SubState") == "auto-restart" and unit.get("ExecMainCode") == _EXITED
    return has_ended and unit.get("NRestarts", 0) >= _FAILED_STARTS


def await_isod(bus: wire.Bus) -> None:
    """Wait until isod is there, which the bus starts. Raises WireError, at once where it can't run, RemoteError."""
    began = time.monotonic()
    serial = _ping(bus)
    pause_sec = _FIRST_LOOK_SEC
    while time.monotonic() - began < _PATIENCE_SEC:
        try:
            bus.wait_reply(serial, pause_sec)
        except wire.CallTimeout:
            bus.expect(serial)
        except wire.RemoteError as error:
            if error.name in _THERE:
                return
            if reason := why(bus):
                raise wire.WireError(reason) from error
            if error.name == wire.ABSENT:
                # In words of ours, also where it is told on the desktop.
                raise wire.WireError(wire.NOT_RUNNING) from error
            if error.name not in _MAY_COME:
                raise
            # It went away before it answered, or the bus gave up waiting for it; systemd starts it again.
            time.sleep(_LOOK_SEC)
            serial = _ping(bus)
        else:
            return
        if reason := why(bus):
            raise wire.WireError(reason)
        pause_sec = _LOOK_SEC
    message = f"isod does not answer within {_PATIENCE_SEC:.0f} s; `isoctl doctor` says what to do"
    raise wire.WireError(message)


def _ping(bus: wire.Bus) -> int:
    return bus.send(BUS_NAME, "/", f"{wire.DBUS}.Peer", "Ping")


_MAY_COME = wire.GONE_ERRORS | {f"{wire.DBUS}.Error.TimedOut"}
# Of one that answers, with whatever error of its own.
_THERE = frozenset(f"{wire.DBUS}.Error.{name}" for name in ("UnknownObject", "UnknownMethod", "UnknownInterface"))


def _properties(bus: wire.Bus) -> "dict[str, Any]":
    """Read what systemd says of isod's unit; {} where it does not answer."""
    values: dict[str, Any] = {}
    try:
        for interface in ("Unit", "Service"):
            wanted = (f"{_SYSTEMD}.{interface}",)
            reply = bus.call(
                _UNIT_PATH,
                f"{wire.DBUS}.Properties",
                "GetAll",
                "s",
                wanted,
                destination=_SYSTEMD,
                timeout_sec=_ANSWER_SEC,
            )
            values |= plain(reply.body[0])
    except (wire.RemoteError, wire.WireError):
        return {}
    return values


def _said(unit: "dict[str, Any]") -> str:
    """Give what isod said last: its status, else the last line of its log, which few may read; else how it ended."""
    how = "exit code" if unit.get("ExecMainCode") == _EXITED else "signal"
    text = str(unit.get("StatusText", "")) or _last_line() or f"{how} {unit.get('ExecMainStatus', 'unknown')}"
    return f": {clean(text)}"


def _last_line() -> str:
    command = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=1", "_SYSTEMD_UNIT=isod.service"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWER_SEC, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="backslashreplace").strip()
