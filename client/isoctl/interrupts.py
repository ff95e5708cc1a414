"""Signals as bytes on a pipe, so that one poll waits for them too (set_wakeup_fd).

`_signal` is the C half of `signal`, without enum, whose import takes a quarter of isoctl's start.
"""

import _signal  # type: ignore[import-not-found]
import os

HANGUP: int = _signal.SIGHUP
INTERRUPT: int = _signal.SIGINT
QUIT: int = _signal.SIGQUIT
TERMINATE: int = _signal.SIGTERM
CONTINUE: int = _signal.SIGCONT
WINDOW: int = _signal.SIGWINCH
STOP: int = _signal.SIGSTOP
TERMINAL_STOP: int = _signal.SIGTSTP
ENDING = (HANGUP, INTERRUPT, QUIT, TERMINATE)
_CAUGHT = (*ENDING, _signal.SIGUSR1, _signal.SIGUSR2, CONTINUE, WINDOW)


class Interrupts:
    """Catches the signals that concern an app."""

    __slots__ = ("_writer", "fd")

    def __init__(self) -> None:
        """Install the handlers; a signal that is ignored already (nohup, `&` in sh) stays so."""
        self.fd, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _CAUGHT:
            if _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, _noted)

    def take(self) -> bytes:
        """Give the numbers of the signals that arrived."""
        try:
            return os.read(self.fd, 64)
        except BlockingIOError:
            return b""


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the number is on the pipe."""


def end_by_broken_pipe() -> None:
    """Let `isoctl list | head -1` end as other programs do; Python ignores SIGPIPE."""
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)


def survive_background() -> None:
    """Let restoring the terminal go through even if isoctl loses the foreground at that moment."""
    _signal.signal(_signal.SIGTTOU, _signal.SIG_IGN)
