"""How many calls one user may make of isod."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from isod.settings import Limits

_IDLE_USERS_MAX = 1024
# Of answers at once, for each call at once; and in a second, for each call in a second.
_BURST_BYTES, _PER_SEC_BYTES = 1024, 4096
_WAIT_MAX_SEC = 0.01  # a reload may change the limits meanwhile


@dataclass(slots=True)
class _User:
    tokens: float
    filled_sec: float
    open_calls: int = 0
    unread_bytes: float = 0.0  # of answers, less what may be read meanwhile


class CallLimits:
    """Counts the calls of each uid, over all its connections."""

    def __init__(self, limits: Callable[[int], Limits], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Take what gives the limits of a uid, which a reload may change, and a monotonic clock in seconds."""
        self._limits = limits
        self._clock = clock
        self._users: dict[int, _User] = {}

    def enter(self, uid: int) -> str:
        """Count one call, which must leave when it is answered; gives why it may not be made, then nothing is counted.

        No exception, since this is what a flood costs.
        """
        bounds = self._limits(uid)
        user = self._user(uid, bounds)
        if user.open_calls >= bounds.calls_open:
            return f"{bounds.calls_open} calls of yours are not answered yet"
        # A refused call takes no token: who stops calling too fast is served again at once.
        if user.tokens < 1.0:
            return f"more than {bounds.calls_per_sec} calls per second"
        user.tokens -= 1.0
        user.open_calls += 1
        return ""

    def answered(self, uid: int, size_bytes: int) -> None:
        """Count an answer: the making of a long one is what keeps others waiting, also if nobody reads it."""
        user = self._users.get(uid)
        if user is not None:
            user.unread_bytes += size_bytes

    def why_not_read(self, uid: int) -> str:
        """Give why a list may not be asked for now, "" if it may; all else of the user's goes on."""
        bounds = self._limits(uid)
        if self._user(uid, bounds).unread_bytes < bounds.calls_burst * _BURST_BYTES:
            return ""
        return f"more than {bounds.calls_per_sec * _PER_SEC_BYTES // 1024} KiB of answers per second"

    def wait_sec(self, uid: int) -> float:
        """Give for how long each call of a uid will be over a limit, if none of its open calls leaves meanwhile."""
        bounds = self._limits(uid)
        user = self._user(uid, bounds)
        if user.open_calls >= bounds.calls_open:
            return _WAIT_MAX_SEC
        return min(_WAIT_MAX_SEC, max(0.0, (1.0 - user.tokens) / bounds.calls_per_sec))

    def leave(self, uid: int) -> bool:
        """Count one call less; tells whether it was the one that others were refused for."""
        user = self._users[uid]
        user.open_calls -= 1
        return user.open_calls == self._limits(uid).calls_open - 1

    def _user(self, uid: int, bounds: Limits) -> _User:
        now_sec = self._clock()
        user = self._users.get(uid)
        if user is None:
            self._forget_idle(bounds)
            user = self._users[uid] = _User(float(bounds.calls_burst), now_sec)
        gained = (now_sec - user.filled_sec) * bounds.calls_per_sec
        user.tokens = min(float(bounds.calls_burst), user.tokens + gained)
        user.unread_bytes = max(0.0, user.unread_bytes - gained * _PER_SEC_BYTES)
        user.filled_sec = now_sec
        return user

    def _forget_idle(self, bounds: Limits) -> None:
        if len(self._users) < _IDLE_USERS_MAX:
            return
        oldest_sec = self._clock() - bounds.calls_burst / bounds.calls_per_sec
        for uid in [uid for uid, user in self._users.items() if not user.open_calls and user.filled_sec < oldest_sec]:
            del self._users[uid]
