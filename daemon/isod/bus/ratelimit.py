"""How much one user may ask of isod."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from isod_contract import limits
from isod_contract.errors import LimitExceeded

_IDLE_USERS_MAX = 1024


@dataclass(slots=True)
class _User:
    tokens: float
    filled_sec: float
    open_calls: int = 0


class CallLimits:
    """Counts the calls of each uid, over all its connections; uid 0 is not limited."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Take a monotonic clock in seconds."""
        self._clock = clock
        self._users: dict[int, _User] = {}

    @contextmanager
    def call(self, uid: int) -> Iterator[None]:
        """Count one call for as long as the block lasts; raises LimitExceeded."""
        if uid == 0:
            yield
            return
        user = self._user(uid)
        if user.open_calls >= limits.CALLS_OPEN_PER_UID:
            raise LimitExceeded(reason=f"{user.open_calls} calls of yours are not answered yet")
        # A refused call takes no token: who stops calling too fast is served again at once.
        if user.tokens < 1.0:
            raise LimitExceeded(reason=f"more than {limits.CALLS_PER_SEC_PER_UID:g} calls per second")
        user.tokens -= 1.0
        user.open_calls += 1
        try:
            yield
        finally:
            user.open_calls -= 1

    def _user(self, uid: int) -> _User:
        now_sec = self._clock()
        user = self._users.get(uid)
        if user is None:
            self._forget_idle()
            user = self._users[uid] = _User(float(limits.CALLS_BURST_PER_UID), now_sec)
        gained = (now_sec - user.filled_sec) * limits.CALLS_PER_SEC_PER_UID
        user.tokens = min(float(limits.CALLS_BURST_PER_UID), user.tokens + gained)
        user.filled_sec = now_sec
        return user

    def _forget_idle(self) -> None:
        if len(self._users) < _IDLE_USERS_MAX:
            return
        full_after_sec = limits.CALLS_BURST_PER_UID / limits.CALLS_PER_SEC_PER_UID
        oldest_sec = self._clock() - full_after_sec
        for uid in [uid for uid, user in self._users.items() if not user.open_calls and user.filled_sec < oldest_sec]:
            del self._users[uid]
