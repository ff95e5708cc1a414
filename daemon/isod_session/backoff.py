"""How long a program that ended is left alone before it is started again: who makes it end may be hostile."""

from collections import deque

# One that lived longer did its work.
_EARLY_SEC = 10.0
_WAIT_MAX_SEC = 60.0
# Starts within a minute, also of those that ended well: each costs the user's processor, not the container's.
_STARTS_MAX = 10
_STARTS_SEC = 60.0


class Backoff:
    """Counts starts and early ends of one program; all times are of one monotonic clock."""

    def __init__(self) -> None:
        """Begin with a program that never failed."""
        self._early_ends = 0
        self._starts: deque[float] = deque(maxlen=_STARTS_MAX)

    def started(self, now_sec: float) -> None:
        """Take note of a start."""
        self._starts.append(now_sec)

    def ended(self, now_sec: float, *, well: bool) -> float:
        """Take note of the end, `well` if nobody needed it any more; gives the seconds until the next start.

        1, 2, 4 .. 60 after ends within ten seconds in a row.
        """
        lived_sec = now_sec - self._starts[-1] if self._starts else 0.0
        self._early_ends = 0 if well or lived_sec >= _EARLY_SEC else self._early_ends + 1
        wait_sec = min(2.0 ** (self._early_ends - 1), _WAIT_MAX_SEC) if self._early_ends else 0.0
        if len(self._starts) == _STARTS_MAX:
            wait_sec = max(wait_sec, self._starts[0] + _STARTS_SEC - now_sec)
        return wait_sec
