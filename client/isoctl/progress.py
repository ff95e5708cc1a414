"""One line on the caller's terminal while a start takes long, and sentences that do not break it."""

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from isoctl.notify import Notifier

_DELAY_SEC = 0.5
_NOTIFICATION_DELAY_SEC = 0.7  # a person who typed a key looks for an answer within a second
_PHASES = {
    "": "waiting for isod to start something in",
    "authorizing": "waiting for authorization to run in",
    "starting-container": "starting container",
    "preparing": "preparing container",
    "starting": "starting the app in",
    "stopping": "stopping container",
}


class Progress:
    """Shows what a container is doing, after a moment, until cleared: on a terminal, else as a notification if any.

    A terminal shows each state. A notification is shown once, for the container: each update might pop up anew.
    """

    __slots__ = ("_container", "_delay_sec", "_notifier", "_shows", "_since", "_visible")

    def __init__(self, container: str, *, quiet: bool, notifier: "Notifier | None" = None) -> None:
        """Begin to wait."""
        self._container = container
        self._notifier = notifier
        self._shows = not quiet and (notifier is not None or (os.isatty(2) and os.environ.get("TERM") != "dumb"))
        self._delay_sec = _DELAY_SEC if notifier is None else _NOTIFICATION_DELAY_SEC
        self._visible = ""
        self._since = time.monotonic()

    def due_in_sec(self) -> float | None:
        """Seconds until there is something to show; None: not waiting for that."""
        if not self._shows or self._visible:
            return None
        return max(0.0, self._since + self._delay_sec - time.monotonic())

    def update(self, state: str) -> None:
        """Show the state if it is time."""
        if not self._shows or time.monotonic() - self._since < self._delay_sec:
            return
        if self._visible and self._notifier is not None:
            return
        text = f"{_PHASES.get(state, state)} {self._container}"
        if text == self._visible:
            return
        self._visible = text
        if self._notifier is not None:
            self._notifier.show(self._container, text)
        else:
            write_error(f"\risoctl: {text} ...\x1b[K")

    def warn(self, text: str) -> bool:
        """Tell what is wrong with an app that goes on, as a notification; false where there is a terminal for that."""
        if self._notifier is None:
            return False
        self._notifier.show(self._container, text)
        # It stays: neither a later state nor the end of waiting may take its place.
        self._shows = False
        self._visible = ""
        return True

    def clear(self) -> None:
        """Wipe the line; nothing is shown from then on."""
        if self._visible:
            if self._notifier is not None:
                self._notifier.close()
            else:
                write_error("\r\x1b[K")
        self._shows = False
        self._visible = ""


def write_error(text: str) -> None:
    """Write to standard error, whatever became of it; not through sys.stderr, which may be half closed."""
    try:
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        pass  # nobody is left to read it
