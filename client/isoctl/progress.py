"""One line on the caller's terminal while a start takes long, and sentences that do not break it."""

import os
import time

_DELAY_SEC = 0.5
_PHASES = {
    "": "waiting for isod to start something in",
    "authorizing": "waiting for authorization to run in",
    "starting-container": "starting container",
    "preparing": "preparing container",
    "starting": "starting the app in",
    "stopping": "stopping container",
}


class Progress:
    """Shows what a container is doing, after half a second, until cleared; nothing without a terminal."""

    __slots__ = ("_container", "_shows", "_since", "_visible")

    def __init__(self, container: str, *, quiet: bool) -> None:
        """Begin to wait."""
        self._container = container
        self._shows = not quiet and os.isatty(2) and os.environ.get("TERM") != "dumb"
        self._visible = ""
        self._since = time.monotonic()

    def due_in_sec(self) -> float | None:
        """Seconds until there is something to show; None: not waiting for that."""
        if not self._shows or self._visible:
            return None
        return max(0.0, self._since + _DELAY_SEC - time.monotonic())

    def update(self, state: str) -> None:
        """Show the state if it is time."""
        if not self._shows or time.monotonic() - self._since < _DELAY_SEC:
            return
        line = f"isoctl: {_PHASES.get(state, state)} {self._container} ..."
        if line != self._visible:
            self._visible = line
            write_error(f"\r{line}\x1b[K")

    def clear(self) -> None:
        """Wipe the line; nothing is shown from then on."""
        if self._visible:
            write_error("\r\x1b[K")
        self._shows = False
        self._visible = ""


def write_error(text: str) -> None:
    """Write to standard error, whatever became of it; not through sys.stderr, which may be half closed."""
    try:
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        pass  # nobody is left to read it
