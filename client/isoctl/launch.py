"""Runs one app to its end: the loop over the bus, the signals, the relays and the terminal."""

import os
import select
import time

from isoctl import interrupts
from isoctl.progress import Progress, write_error
from isoctl.relay import Relay, leave_behind
from isoctl.watch import AppWatch
from isoctl.wire import Bus, RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from isoctl.stdio import Streams
    from isoctl.terminal import Joint, Terminal

_BEFORE_TERMINAL = ("", "authorizing", "starting-container", "preparing")
# After the main process: how long its pipes may stay open if nothing is left of the app, and if something is.
_DRAIN_SEC = 2.0
_DRAIN_LEFT_BEHIND_SEC = 0.25
_STOP_SEC = 2.0
_KEPT_BYTES = 4096
_DISPLAYS = frozenset({"WAYLAND_DISPLAY", "DISPLAY"})
FAILED = 125
NOT_EXECUTED = {126: "can't be executed", 127: "not found"}  # as shells say it (sh(1))


class Launch:
    """One `isoctl run`, from the request on."""

    def __init__(
        self,
        bus: Bus,
        watch: AppWatch,
        signals: interrupts.Interrupts,
        streams: "Streams | None",
        progress: Progress,
        *,
        joint: "Joint | None",
        detach: bool,
        quiet: bool,
    ) -> None:
        """Prepare the loop; `streams` is None if all are on a terminal or the app outlives us, `joint` without one."""
        self._bus = bus
        self._watch = watch
        self._streams = streams
        self._detach = detach
        self._joint = joint  # until it is joined
        self._terminal: Terminal | None = None
        self._relays: list[Relay] = streams.relays if streams else []
        self._interrupts = signals
        self._progress = progress
        self._quiet = quiet or not os.isatty(2)
        self._told: tuple[str, str] = ("", "")
        self._handed_over = False
        self._had_terminal = _has_terminal()
        self._leave_with: int | None = None
        self._written = b""  # the last that was shown on a terminal, where there is no display
        for relay in self._relays:
            self._listen(relay)
        self._is_paused = False  # the app was stopped together with us, and is to go on

    def run(self) -> int:
        """Wait for the end; gives the exit code. Raises LaunchFailed, RemoteError, WireError."""
        try:
            while not self._is_over():
                self._turn(self._timeout_sec())
                self._watch.tick()
                self._follow()
            if self._leave_with is not None:
                return self._leave_with
            if self._detach:
                # Nobody waits for the end of one that began; only that it could not begin is told.
                status = self._watch.exit_status() if self._watch.ended else 0
                return status if status in NOT_EXECUTED else 0
            self._join_late()
            self._drain()
            status = self._watch.exit_status()
        finally:
            self._progress.clear()
            if self._terminal:
                self._terminal.restore()
        return self._lost_output() or status

    def missed_display(self) -> bool:
        """Tell whether the app complained on the terminal of a display that it does not have here."""
        from isoctl.surroundings import missed_display

        return missed_display(self._written)

    def _listen(self, relay: Relay) -> None:
        if not relay.inward and os.isatty(relay.target) and not (_DISPLAYS & os.environ.keys()):
            relay.heard = self._note

    def _note(self, written: bytes) -> None:
        self._written = (self._written + written)[-_KEPT_BYTES:]

    def _is_over(self) -> bool:
        """Tell whether there is nothing more to wait for."""
        if self._leave_with is not None or self._watch.ended:
            return True
        return self._detach and self._watch.state == "running"

    def _timeout_sec(self) -> float | None:
        """Give how long one turn may wait; None: until something happens, which is the rule."""
        waits = []
        if self._watch.needs_ticks() or any(relay.waits_for_foreground() for relay in self._relays):
            waits.append(self._watch.tick_sec)
        if (due := self._progress.due_in_sec()) is not None:
            waits.append(due + 0.001)
        return min(waits) if waits else None

    def _turn(self, timeout_sec: float | None) -> None:
        """Wait for whatever comes first, and let each deal with its own."""
        poll = select.poll()
        if not self._watch.bus_is_away:
            poll.register(self._bus.fileno(), select.POLLIN)
        poll.register(self._interrupts.fd, select.POLLIN)
        for relay in self._relays:
            for fd, events in relay.interests():
                poll.register(fd, events)
        ready = poll.poll(None if timeout_sec is None else max(0.0, timeout_sec) * 1000)
        if self._terminal:
            self._terminal.match_output()
        for fd, events in ready:
            if fd == self._bus.fileno():
                self._watch.receive()
            elif fd == self._interrupts.fd:
                for number in self._interrupts.take():
                    self._interrupted(number)
            else:
                for relay in self._relays:
                    relay.ready(fd, events)

    def _follow(self) -> None:
        """Do what the app's state asks for."""
        watch = self._watch
        # Not before the app runs: an isod that is killed until then is asked again, with the same streams.
        if (watch.state == "running" or watch.ended) and self._streams and not self._handed_over:
            self._streams.handed_over()
            self._handed_over = True
        if watch.state == "running" or watch.ended:
            self._progress.clear()
        else:
            self._progress.update(watch.state)
        if self._joint is not None and not watch.ended:
            self._fetch_terminal(self._joint)
        if self._is_paused and watch.signal(interrupts.CONTINUE):
            self._is_paused = False
        if self._terminal and not watch.ended:
            self._follow_terminal(self._terminal)
        # Also of an app that has ended by now, as one without a display does at once: it is the reason. What ended a
        # launch is told by whoever reads its outcome.
        if watch.problem[1] and watch.problem != self._told and watch.is_warned:
            self._warn()

    def _fetch_terminal(self, joint: "Joint") -> None:
        """Ask for the app's terminal once there can be one, and join it when it comes."""
        master = self._watch.taken_terminal()
        if master is None:
            if self._watch.state not in _BEFORE_TERMINAL and self._watch.away_since is None:
                self._watch.open_terminal()
            return
        from isoctl.terminal import Terminal

        self._progress.clear()
        self._terminal = Terminal(master, joint)
        self._joint = None
        self._listen(self._terminal.screen)
        self._relays = [*self._relays, *self._terminal.relays]

    def _join_late(self) -> None:
        """Fetch the terminal of an app that was over before that could be done: what it wrote is in there."""
        deadline = time.monotonic() + _DRAIN_SEC
        while self._joint is not None and self._watch.state != "failed" and self._leave_with is None:
            try:
                self._fetch_terminal(self._joint)
            except RemoteError:
                return  # isod has let go of it
            left_sec = deadline - time.monotonic()
            if left_sec <= 0 or self._watch.away_since is not None:
                return
            if self._joint is not None:
                self._turn(left_sec)

    def _follow_terminal(self, joined: "Terminal") -> None:
        """Leave when the caller's terminal is gone: isod ends the app when our lifetime pipe closes.

        If the app let go of its terminal and goes on, give the caller their own back.
        """
        if joined.keyboard.source_ended:
            self._leave_with = 128 + interrupts.HANGUP
        elif joined.screen.done:
            joined.restore()
        elif joined.stop_typed:
            joined.stop_typed = False
            if self._watch.state == "running" and joined.stops_nothing():
                self._pause(joined)

    def _pause(self, joined: "Terminal") -> None:
        """Stop with the app, as a program of the host does at Ctrl-Z; `fg` and `bg` of the shell let both go on."""
        self._is_paused = self._watch.signal(interrupts.STOP)
        joined.restore()
        os.kill(0, interrupts.TERMINAL_STOP)
        # From here on somebody has continued us, or nobody could and we were not stopped.
        joined.enter()
        joined.fit()

    def _warn(self) -> None:
        """Say on a terminal what is not as it should be, once."""
        self._told = self._watch.problem
        from isoctl.render import clean

        text = clean(self._watch.problem[1])
        if not self._progress.warn(text) and not self._quiet:
            self._progress.clear()
            write_error(f"isoctl: {text}\r\n")

    def _interrupted(self, number: int) -> None:
        """Deal with a signal that isoctl got: the app's, nearly always."""
        if number in (interrupts.WINDOW, interrupts.CONTINUE):
            if self._terminal and not self._terminal.screen.done:
                if number == interrupts.CONTINUE:
                    self._terminal.enter()
                self._terminal.fit()
        elif self._watch.state == "running" and not self._watch.ended:
            passed_on = self._watch.signal(number)
            if not passed_on or (number == interrupts.HANGUP and self._lost_terminal()):
                self._leave(number)
        else:
            if self._watch.accepted and not self._watch.ended and self._watch.away_since is None:
                self._watch.stop(_STOP_SEC)
            self._leave(number)

    def _leave(self, number: int) -> None:
        """Leave, as if ended by the signal; USR1 and USR2 are no reason to."""
        if number in interrupts.ENDING:
            self._leave_with = 128 + number

    def _lost_terminal(self) -> bool:
        """Tell whether the SIGHUP came because the terminal was closed."""
        return self._had_terminal and not _has_terminal()

    def _drain(self) -> None:
        """Copy what the app wrote before it ended, then give back what it left unread of a file."""
        began = time.monotonic()
        if self._terminal:
            self._terminal.let_go()
        outputs = [relay for relay in self._relays if not relay.inward]
        for relay in self._relays:
            if relay.inward:
                relay.give_back()
        self._relays = outputs
        while any(not relay.done for relay in outputs) and self._leave_with is None:
            limit = _DRAIN_LEFT_BEHIND_SEC if self._watch.running else _DRAIN_SEC
            left_sec = began + limit - time.monotonic()
            # Data that is there is never left: the limit is for a pipe that is only kept open.
            if left_sec <= 0 and not any([relay.step() for relay in outputs if not relay.done]):  # noqa: C419 - each
                break
            self._turn(left_sec)
        screen = self._terminal.screen if self._terminal else None
        rest = [relay for relay in outputs if not relay.done and relay is not screen]
        if rest and self._leave_with is None:
            leave_behind(rest)

    def _lost_output(self) -> int:
        """Say that output could not be written (a full disk); gives the exit code for that, or 0."""
        for relay in self._relays:
            if relay.failure:
                write_error(f"isoctl: the app's output could not be written: {relay.failure}\n")
                return FAILED
        return 0


def _has_terminal() -> bool:
    """Tell whether there is a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
