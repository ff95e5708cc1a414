"""`isoctl run`: one app with the caller's own streams, its signals and its exit code."""

import os
import select
import sys
import time

from isoctl import cli, interrupts, terminal, wire
from isoctl.contract_generated import (
    APP,
    APP_PATH_PREFIX,
    BUS_NAME,
    ENDED,
    HINT_NAMES,
    MANAGER,
    PROPERTIES,
    ROOT_PATH,
)
from isoctl.marshal import plain
from isoctl.relay import Relay, leave_behind
from isoctl.stdio import Refused, Streams, open_missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATIENCE_SEC = 30.0
_PROGRESS_AFTER_SEC = 0.5
_FAILED = 125
_LOST = ("org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.ServiceUnknown")
_STREAMS = ("stdin", "stdout", "stderr")


def execute(request: cli.Request) -> int:
    """Run the command of a parsed command line; gives its exit code, 125 if isoctl or isod failed."""
    if not request.command:
        name = request.operands[0]
        message = f"no command; `isoctl run {name} COMMAND`, or `isoctl shell {name}` for a shell"
        raise cli.UsageError(message, "run")
    return start(request, request.command)


def start(request: cli.Request, command: list[str]) -> int:
    """Start a command with the flags of `run`."""
    from isoctl.__main__ import complain

    open_missing()
    account, container = cli.split_account(request.operands[0])
    options = _options(request, account)
    try:
        run = Run(container, _checked(command), options, quiet="quiet" in request.options)
        return (
            run.detached()
            if "detach" in request.options
            else run.attached(forced="terminal" in request.options, never="no-terminal" in request.options)
        )
    except Refused as error:
        return complain(str(error), _FAILED)


def _checked(command: list[str]) -> list[str]:
    """Refuse what D-Bus strings cannot carry, by position."""
    for position, word in enumerate(command):
        try:
            word.encode()
        except UnicodeEncodeError:
            message = f"argument {position} is not UTF-8"
            raise cli.UsageError(message, "run") from None
    return command


def _options(request: cli.Request, account: str | None) -> "dict[str, tuple[str, Any]]":
    """Give the wire options that were asked for."""
    given = request.options
    options: dict[str, tuple[str, Any]] = {}
    for key, signature in (("directory", "s"), ("login-shell", "b"), ("user", "s"), ("display", "s")):
        if key in given:
            options[key] = (signature, given[key])
    if account is not None:
        options["user"] = ("s", account)
    variables = given.get("environment", [])
    assert isinstance(variables, list)
    if variables:
        options["environment"] = ("as", [_variable(entry) for entry in variables])
    hints = [f"{name}={os.environ[name]}" for name in HINT_NAMES if _fits(os.environ.get(name))]
    if hints:
        options["hints"] = ("as", hints)
    return options


def _fits(value: str | None) -> bool:
    return value is not None and value.isprintable() and len(value) <= 1024


def _variable(entry: str) -> str:
    """Complete `NAME` by the caller's value."""
    if "=" in entry:
        return entry
    if entry not in os.environ:
        message = f"--env {entry}: the variable is not set here"
        raise cli.UsageError(message, "run")
    return f"{entry}={os.environ[entry]}"


class Run:
    """One launch, from the call until the exit code."""

    def __init__(
        self, container: str, command: list[str], options: "dict[str, tuple[str, Any]]", *, quiet: bool
    ) -> None:
        """Connect. Raises WireError."""
        self._id = os.urandom(16).hex()
        self._path = APP_PATH_PREFIX + self._id
        self._container = container
        self._command = command
        self._options = {**options, "id": ("s", self._id)}
        self._bus = wire.Bus(wire.system_bus_address())
        self._state = ""
        self._code: int | None = None
        self._problem = ("", "")
        self._show = not quiet and os.isatty(2)
        self._progress = False
        self._terminal: terminal.Terminal | None = None
        self._wants_terminal = False
        self._terminal_serial = 0
        self._lost_sec: float | None = None
        self._query_serial = 0

    def detached(self) -> int:
        """Start it and leave; its output goes to the container's journal."""
        self._call_run()
        if self._show:
            print(f"{self._id[:12]} started; `isoctl logs {self._id[:12]}` shows what it writes", file=sys.stderr)
        return 0

    def attached(self, *, forced: bool, never: bool) -> int:
        """Start it with the caller's streams, and wait for its end."""
        reader, self._lifetime = os.pipe2(os.O_CLOEXEC)
        self._options["lifetime"] = ("h", reader)
        relays: list[Relay] = []
        self._wants_terminal = not never and terminal.wanted(forced=forced)
        streams = None
        if self._wants_terminal:
            rows, columns = terminal.size()
            self._options |= {"terminal": ("b", True), "rows": ("q", rows), "columns": ("q", columns)}
        else:
            streams = Streams()
            relays = streams.relays
            self._options |= {name: ("h", fd) for name, fd in streams.sent.items()}
        signals = interrupts.Interrupts()
        self._watch_isod()
        self._call_run()
        os.close(reader)
        if streams is not None:
            streams.handed_over()
        try:
            self._wait(relays, signals)
        finally:
            if self._terminal is not None:
                self._terminal.restore()
        return self._finish(relays)

    def _watch_isod(self) -> None:
        rule = f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{BUS_NAME}'"
        self._bus.send(wire.DBUS, wire.DBUS_PATH, wire.DBUS, "AddMatch", "s", (rule,), reply=False)

    def _call_run(self) -> None:
        """Call Run; again with the same id if isod went away meanwhile, which starts nothing twice."""
        body = (self._container, self._command, self._options)
        deadline = time.monotonic() + _PATIENCE_SEC
        while True:
            try:
                self._bus.call(ROOT_PATH, MANAGER, "Run", "sasa{sv}", body)
            except wire.RemoteError as error:
                if error.name != _LOST[0] or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    # -- waiting

    def _wait(self, relays: list[Relay], signals: interrupts.Interrupts) -> None:
        started_sec = time.monotonic()
        while self._code is None:
            self._take_messages(relays)
            if self._is_over():
                break
            poll = select.poll()
            poll.register(self._bus.fileno(), select.POLLIN)
            poll.register(signals.fd, select.POLLIN)
            for relay in relays:
                for fd, events in relay.interests():
                    poll.register(fd, events)
            happened = poll.poll(self._patience_ms(started_sec))
            for fd, events in happened:
                if fd == self._bus.fileno():
                    self._bus.receive()
                elif fd == signals.fd:
                    self._pass_on(signals.take())
                else:
                    for relay in relays:
                        relay.ready(fd, events)
            self._tell_progress(started_sec)
        self._clear_progress()

    def _is_over(self) -> bool:
        return self._code is not None

    def _patience_ms(self, started_sec: float) -> int | None:
        if self._lost_sec is not None:
            if time.monotonic() - self._lost_sec > _PATIENCE_SEC:
                text = "isod went away and did not come back; the app may still run, see `isoctl ps`"
                raise wire.WireError(text)
            return 1000
        waits = self._show and not self._progress and self._state not in ("running", *ENDED)
        left_sec = started_sec + _PROGRESS_AFTER_SEC - time.monotonic()
        return max(0, int(left_sec * 1000) + 1) if waits else None

    def _tell_progress(self, started_sec: float) -> None:
        if self._state == "running" or self._terminal is not None:
            self._clear_progress()
        elif self._show and not self._progress and time.monotonic() - started_sec > _PROGRESS_AFTER_SEC:
            self._progress = True
            doing = {"authorizing": "waiting for the authentication for", "starting-container": "starting"}
            words = doing.get(self._state, "preparing")
            sys.stderr.write(f"isoctl: {words} container {self._container} ...")
            sys.stderr.flush()

    def _clear_progress(self) -> None:
        if self._progress and self._show:
            self._progress = self._show = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _take_messages(self, relays: list[Relay]) -> None:
        if self._terminal_serial and (reply := self._bus.take_reply(self._terminal_serial)) is not None:
            self._terminal_serial = 0
            reply.raise_error()
            self._clear_progress()
            self._terminal = terminal.Terminal(reply.take_fd(int(reply.body[0])))
            relays += self._terminal.relays
        if self._query_serial and (reply := self._bus.take_reply(self._query_serial)) is not None:
            self._query_serial = 0
            reply.raise_error()
            self._lost_sec = None
            self._changed(plain(reply.body[0]))
        signals, self._bus.signals = self._bus.signals, []
        for signal in signals:
            if signal.member == "org.freedesktop.DBus.NameOwnerChanged":
                self._owner_changed(str(signal.body[2]))
            elif signal.path == self._path and signal.member == f"{PROPERTIES}.PropertiesChanged":
                self._changed(plain(signal.body[1]))
            elif signal.path == self._path and signal.member == f"{APP}.Exited":
                self._exited(int(signal.body[0]), int(signal.body[1]))
            signal.close()

    def _owner_changed(self, owner: str) -> None:
        """Wait for isod to come back, then ask again: signals that came meanwhile are lost."""
        if not owner:
            self._lost_sec = time.monotonic()
            return
        self._bus.send(BUS_NAME, ROOT_PATH, MANAGER, "Subscribe", reply=False)
        self._query_serial = self._bus.send(BUS_NAME, self._path, PROPERTIES, "GetAll", "s", (APP,))

    def _changed(self, values: "dict[str, Any]") -> None:
        if "Problem" in values:
            self._problem = (values["Problem"][0], values["Problem"][1])
        if values.get("ExitSignal"):
            self._code = 128 + values["ExitSignal"]
        elif values.get("ExitCode", -1) >= 0:
            self._code = values["ExitCode"]
        if "State" in values:
            self._state = values["State"]
            if self._state in ENDED and self._code is None:
                self._code = -1
        early = self._state in ("starting", "running") and self._terminal is None
        if self._wants_terminal and early:
            self._wants_terminal = False
            self._terminal_serial = self._bus.send(BUS_NAME, self._path, APP, "OpenTerminal")

    def _exited(self, code: int, signal_number: int) -> None:
        if self._code is None or self._code < 0:
            self._code = 128 + signal_number if signal_number else code

    def _pass_on(self, numbers: bytes) -> None:
        """Send isoctl's own signals to the app; the exit is waited for as before."""
        for number in numbers:
            if number == interrupts.WINDOW:
                if self._terminal is not None:
                    self._terminal.fit()
            elif number == interrupts.CONTINUE:
                if self._terminal is not None:
                    self._terminal.enter()
            else:
                self._bus.send(BUS_NAME, self._path, APP, "Signal", "i", (number,), reply=False)
                if number in interrupts.ENDING and self._lost_sec is not None:
                    text = "interrupted while isod was away"
                    raise wire.WireError(text)

    def _finish(self, relays: list[Relay]) -> int:
        """Bring what is still under way to its reader, then tell how it ended."""
        from isoctl.__main__ import complain

        outward = []
        for relay in relays:
            if relay.inward:
                relay.give_back()
            else:
                outward.append(relay)
        _drain(outward)
        open_still = [relay for relay in outward if not relay.done]
        if open_still and self._terminal is None:
            leave_behind(open_still)
        if self._terminal is not None:
            self._terminal.restore()
        code = _FAILED if self._code is None or self._code < 0 else self._code
        if code == _FAILED and self._problem[1]:
            return complain(self._problem[1], code)
        if self._problem[1] and os.isatty(2):
            complain(self._problem[1], code)
        return code


def _drain(relays: list[Relay]) -> None:
    """Copy what is in the pipes: to their end, or until nothing comes while a child of the app keeps one open."""
    while any(not relay.done for relay in relays):
        poll = select.poll()
        for relay in relays:
            for fd, events in relay.interests():
                poll.register(fd, events)
        happened = poll.poll(_DRAIN_MS)
        if not happened:
            return
        for fd, events in happened:
            for relay in relays:
                relay.ready(fd, events)


_DRAIN_MS = 150
