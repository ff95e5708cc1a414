"""Follows one app from `Run` to its exit, through restarts of isod and of the message bus."""

import time

from isoctl.contract_generated import APP, APP_PATH_PREFIX, BUS_NAME, ENDED, MANAGER, PROPERTIES, ROOT_PATH
from isoctl.marshal import plain
from isoctl.wire import ABSENT, DBUS, DBUS_PATH, GONE_ERRORS, NOT_RUNNING, Bus, Message, RemoteError, WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_OWNER_CHANGED = DBUS + ".NameOwnerChanged"
_CHANGED = PROPERTIES + ".PropertiesChanged"
_EXITED = APP + ".Exited"
_LOOK_SEC = 0.9
_RECONNECT_FIRST_SEC, _RECONNECT_MOST_SEC = 0.1, 2.0
# Until then an isod that is killed has started nothing, or knows it by the id: Run can be sent again.
_REPEATABLE = ("", "authorizing", "starting-container", "preparing", "starting")
_ABSENT_SEC = 0.9  # and then at each tick
PATIENCE_SEC = 30.0  # for isod's answer to Run, and for its return while the app does not run yet


class LaunchFailed(Exception):
    """The app did not start, or how it ended is unknown; the text is one line."""


class AppWatch:
    """One app as isod tells of it.

    `state` is the contract's AppState, empty until isod took the request. `ended` turns true when the main process
    ended or the launch failed; `running` says whether any process is left.
    """

    def __init__(self, bus: Bus, app_id: str, run_body: "tuple[Any, ...]") -> None:
        """Watch isod's name, then ask for the app; does not wait."""
        self.path = APP_PATH_PREFIX + app_id
        self.state = ""
        self.running = True
        self.ended = False
        self.away_since: float | None = None
        self.problem = ("", "")
        self._bus = bus
        self._run_body = run_body
        self._owner = ""
        self._early: list[Message] = []
        self._exit_code = -1
        self._exit_signal = 0
        self._pending: dict[int, str] = {}
        self._looks = False
        self._looked_at = 0.0
        self._is_repeated = False
        self._terminal: Message | RemoteError | None = None
        self._reconnect_at = 0.0  # while the bus is away
        self._pause_sec = 0.0
        self.asked_at = time.monotonic()
        try:
            self._watch_owner()
            self._run()
        except WireError:
            self._lose_bus()

    def _watch_owner(self) -> None:
        # Before anything else: a restart between the two would go unnoticed otherwise.
        rule = f"type='signal',sender='{DBUS}',member='NameOwnerChanged',arg0='{BUS_NAME}'"
        self._bus.send(DBUS, DBUS_PATH, DBUS, "AddMatch", "s", (rule,), reply=False)

    def _run(self) -> None:
        """Ask for the app; the same as before where isod knows its id."""
        self.asked_at = time.monotonic()
        self._send("Run", ROOT_PATH, MANAGER, "sasa{sv}", self._run_body)

    def _send(self, member: str, path: str, interface: str, signature: str = "", body: "tuple[Any, ...]" = ()) -> int:
        """Send a call whose reply `absorb` will meet."""
        serial = self._bus.send(BUS_NAME, path, interface, member, signature, body)
        self._pending[serial] = member
        return serial

    @property
    def accepted(self) -> bool:
        """Whether isod took the request."""
        return self.state != ""

    @property
    def bus_is_away(self) -> bool:
        """Whether there is no bus to poll."""
        return self._pause_sec > 0

    def receive(self) -> None:
        """Read what the bus has, and take it in. Raises LaunchFailed, RemoteError (from Run)."""
        try:
            self._bus.receive()
            self.absorb()
        except WireError:
            self._lose_bus()

    def _try(self, send: "Callable[[], object]") -> bool:
        """Send something; false if the bus is gone."""
        try:
            send()
        except WireError:
            self._lose_bus()
            return False
        return True

    def _lose_bus(self) -> None:
        """Wait for another bus. The app has nothing to do with it: only its lifetime pipe ties it to us."""
        self._bus.close()
        self.away_since = self.away_since or time.monotonic()
        self._owner, self._pending, self._early = "", {}, []
        self._pause_sec = min(2 * self._pause_sec or _RECONNECT_FIRST_SEC, _RECONNECT_MOST_SEC)
        self._reconnect_at = time.monotonic() + self._pause_sec

    def _reconnect(self) -> None:
        try:
            self._bus.renew()
            self._watch_owner()
            # Whoever it is that answers: isod may be there already, which no signal tells.
            serial = self._bus.send(DBUS, DBUS_PATH, DBUS, "GetNameOwner", "s", (BUS_NAME,))
            self._pending[serial] = "GetNameOwner"
        except WireError:
            self._lose_bus()
        else:
            self._pause_sec = 0.0

    def absorb(self) -> None:
        """Take in all that has arrived. Raises LaunchFailed, RemoteError (from Run), WireError."""
        signals, self._bus.signals = self._bus.signals, []
        for message in signals:
            self._signal(message)
        for serial, member in list(self._pending.items()):
            message_or_none = self._bus.take_reply(serial)
            # A reply before it in this turn may have begun all anew.
            if message_or_none is not None and self._pending.pop(serial, ""):
                self._reply(member, message_or_none)
        if self._owner and self._early:
            early, self._early = self._early, []
            for message in early:
                self._app_signal(message)

    def _signal(self, message: Message) -> None:
        """Sort one signal."""
        sender = message.fields.get(7)
        if message.member == _OWNER_CHANGED and sender == DBUS and message.body[0] == BUS_NAME:
            self._owner_changed(message.body[2])
        elif message.path == self.path:
            # Before Run's reply isod's unique name is unknown; anybody may send signals on the system bus.
            if self._owner:
                self._app_signal(message)
            else:
                self._early.append(message)

    def _owner_changed(self, new_owner: str) -> None:
        """Note that isod left, or take up the thread when it is back."""
        self._owner = new_owner
        if not new_owner:
            self.away_since = self.away_since or time.monotonic()
            return
        self.away_since = None
        self._pending = {}
        if self.state in _REPEATABLE:
            # Also one that was not answered may have been taken: then nothing more is told of what it came to.
            self._is_repeated = True
            self._run()
        else:
            self._send("Subscribe", ROOT_PATH, MANAGER)
            self._ask()

    def _app_signal(self, message: Message) -> None:
        """Take in a signal of the app, if isod sent it."""
        if message.fields.get(7) != self._owner:
            return
        if message.member == _EXITED:
            code, signal = message.body
            self._take({"ExitCode": code, "ExitSignal": signal})
            self.ended = True
        elif message.member == _CHANGED and message.body[0] == APP:
            self._take(plain(message.body[1]))

    def _reply(self, member: str, message: Message) -> None:
        """Take in the reply to one of our calls."""
        try:
            message.raise_error()
        except RemoteError as error:
            self._failed_call(member, error)
            return
        if member == "Run":
            self._owner = str(message.fields.get(7, ""))
            self.state = self.state or "authorizing"
            self.away_since = None
            if self._is_repeated:
                # It may be the one of before, which goes on: what became of it meanwhile was told to nobody.
                self._is_repeated = False
                self._send("Subscribe", ROOT_PATH, MANAGER)
                self._ask()
        elif member == "GetNameOwner":
            self._owner_changed(str(message.body[0]))
        elif member == "GetAll":
            self._take(plain(message.body[0]))
        elif member == "OpenTerminal":
            self._terminal = message

    def _failed_call(self, member: str, error: RemoteError) -> None:
        """Judge an error reply: isod went away, forgot the app, or refused."""
        if member == "Run":
            if error.name == ABSENT and not self.away_since:
                from isoctl.absent import why

                raise LaunchFailed(why(self._bus) or NOT_RUNNING) from error
            if error.name not in GONE_ERRORS:
                raise error
            self.away_since = self.away_since or time.monotonic()
        elif member == "GetNameOwner":
            if not self.accepted:
                self._run()  # which starts isod where the bus can
        elif member == "OpenTerminal":
            if error.name not in GONE_ERRORS:
                self._terminal = error
        elif member == "Subscribe":
            self._looks = True  # the limit of subscribers: look again and again instead of being told
        elif member == "GetAll":
            if error.name in GONE_ERRORS:
                self.away_since = self.away_since or time.monotonic()
            else:
                message = "isod was restarted and no longer knows the app; how it ended is unknown"
                raise LaunchFailed(message) from error

    def _take(self, changed: "dict[str, Any]") -> None:
        """Take in properties of the app."""
        state = str(changed.get("State", self.state))
        self._exit_code = int(changed.get("ExitCode", self._exit_code))
        self._exit_signal = int(changed.get("ExitSignal", self._exit_signal))
        self.running = bool(changed.get("Running", self.running))
        if "Problem" in changed:
            name, text = changed["Problem"]
            self.problem = (str(name), str(text))
        if state in ENDED and self.state not in ENDED and not {"ExitCode", "Problem"} & set(changed) and not self.ended:
            self._ask()  # the state alone does not say how
        else:
            self.ended = self.ended or state in ENDED or self._exit_code >= 0 or self._exit_signal > 0
        self.state = state

    def _ask(self) -> None:
        """Ask for all properties."""
        self._send("GetAll", self.path, PROPERTIES, "s", (APP,))

    def needs_ticks(self) -> bool:
        """Whether `tick` must be called every `tick_sec`."""
        return not self.accepted or self.away_since is not None or self._looks

    @property
    def tick_sec(self) -> float:
        """How long until the next `tick` at most."""
        return max(0.0, min(1.0, self._reconnect_at - time.monotonic())) if self.bus_is_away else 1.0

    def tick(self) -> None:
        """Look at the app if nobody tells of it, and give up on an isod that doesn't come while nothing runs yet.

        A running app is waited for without a bound: isod may be stopped for as long as an upgrade takes, and
        leaving would end the app. Raises LaunchFailed, RemoteError (from Run).
        """
        now = time.monotonic()
        if self.bus_is_away and now >= self._reconnect_at:
            self._reconnect()
        if self._looks and self.away_since is None and now - self._looked_at >= _LOOK_SEC:
            self._looked_at = now
            self._try(self._ask)
        if not self.bus_is_away and self.state not in ("running", "exited") and self._is_waited_for(now):
            from isoctl.absent import why

            if reason := why(self._bus):
                raise LaunchFailed(reason)
            # What came while that was asked wakes nobody: it has been read.
            self._try(self.absorb)
        if self.away_since is not None and self.state not in ("running", "exited"):
            if now - self.away_since > PATIENCE_SEC:
                what, unit = ("the message bus", "dbus") if self.bus_is_away else ("isod", "isod")
                away = f"{what} went away and was not back within {PATIENCE_SEC:.0f} s"
                raise LaunchFailed(f"{away}; see `systemctl status {unit}`")
        elif not self.accepted and now - self.asked_at > PATIENCE_SEC:
            message = f"isod did not answer within {PATIENCE_SEC:.0f} s; see `systemctl status isod`"
            raise LaunchFailed(message)

    def _is_waited_for(self, now: float) -> bool:
        """Tell whether it is time to look why isod does not answer, or is not there."""
        since = self.away_since if self.away_since is not None else None if self.accepted else self.asked_at
        return since is not None and now - since >= _ABSENT_SEC

    @property
    def is_warned(self) -> bool:
        """Whether its problem is none that `exit_status` raises: the app runs, or has ended and how is known."""
        return not self.ended or self._exit_code >= 0 or self._exit_signal > 0

    def exit_status(self) -> int:
        """Give the exit code, 128+N for signal N. Raises LaunchFailed if the launch failed or nobody knows."""
        if self.state == "failed":
            raise LaunchFailed(self.problem[1] or "the app did not start")
        if self._exit_signal > 0:
            return 128 + self._exit_signal
        if self._exit_code >= 0:
            return self._exit_code
        raise LaunchFailed(self.problem[1] or "how the app ended is unknown")

    def signal(self, number: int) -> bool:
        """Send a signal to the app; false if isod is away or has not answered the one before."""
        if self.away_since is not None or "Signal" in self._pending.values():
            return False
        return self._try(lambda: self._send("Signal", self.path, APP, "i", (number,)))

    def stop(self, timeout_sec: float) -> None:
        """End an app that does not run yet, and wait a moment for isod's answer; its lifetime pipe does the rest."""
        try:
            self._bus.call(self.path, APP, "Stop", timeout_sec=timeout_sec)
        except (RemoteError, WireError):
            pass  # not even accepted, or isod is away: closing the lifetime pipe ends it all the same

    def open_terminal(self) -> None:
        """Ask for the app's terminal, for `taken_terminal`, unless that is done already."""
        if "OpenTerminal" not in self._pending.values():
            self._try(lambda: self._send("OpenTerminal", self.path, APP))

    def taken_terminal(self) -> int | None:
        """Give the master once it is here. Raises RemoteError, WireError."""
        answer, self._terminal = self._terminal, None
        if isinstance(answer, RemoteError):
            raise answer
        return None if answer is None else answer.take_fd(answer.body[0])
