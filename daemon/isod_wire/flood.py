"""Tell a flood from a burst."""

import time

from isod_wire.caps import Rate


class TokenBucket:
    """Counts messages against a rate."""

    __slots__ = ("_filled_sec", "_rate", "_tokens")

    def __init__(self, rate: Rate) -> None:
        """Start full."""
        self._rate = rate
        self._tokens = float(rate.burst)
        self._filled_sec = time.monotonic()

    def take(self) -> bool:
        """Count one message; False once the rate is exceeded."""
        now_sec = time.monotonic()
        gained = (now_sec - self._filled_sec) * self._rate.per_sec
        self._tokens = min(float(self._rate.burst), self._tokens + gained) - 1.0
        self._filled_sec = now_sec
        return self._tokens >= 0.0
