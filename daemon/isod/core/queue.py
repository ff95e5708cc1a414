"""Whose turn it is: so many launches of a uid start at once, so many more wait in the order in which they came."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from isod.settings import Limits
from isod_contract.errors import LimitExceeded


class LaunchQueue:
    """One queue for each uid, so that no user waits for another."""

    def __init__(self, limits: Callable[[int], Limits]) -> None:
        """Take what gives the limits of a uid, which a reload may change."""
        self._limits = limits
        self._starting: Counter[int] = Counter()
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}

    def join(self, uid: int) -> asyncio.Future[None]:
        """Give what is done when the turn has come; whoever joins must leave. Raises LimitExceeded."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(uid)
        bounds = self._limits(uid)
        if not waiting and self._starting[uid] < bounds.launches_starting:
            self._starting[uid] += 1
            turn.set_result(None)
        elif len(waiting or ()) < bounds.launches_queued:
            self._waiting.setdefault(uid, deque()).append(turn)
        else:
            under_way = self._starting[uid] + len(waiting or ())
            raise LimitExceeded(reason=f"{under_way} launches of uid {uid} are under way; try again when one is done")
        return turn

    def leave(self, uid: int, turn: asyncio.Future[None]) -> None:
        """Let the next one in; also for a turn that never came."""
        waiting = self._waiting.get(uid, deque())
        if turn in waiting:
            waiting.remove(turn)
        else:
            self._starting[uid] -= 1
        while waiting and self._starting[uid] < self._limits(uid).launches_starting:
            self._starting[uid] += 1
            granted = waiting.popleft()
            if not granted.cancelled():
                granted.set_result(None)
        if not waiting:
            self._waiting.pop(uid, None)
        if not self._starting[uid]:
            del self._starting[uid]
