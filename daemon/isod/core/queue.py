"""Whose turn it is: so many launches of a uid start at once in a container, so many more wait in their order."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from isod.settings import Limits
from isod_contract.errors import LimitExceeded

Place = tuple[int, str]
"""A uid, and the container that something is launched in."""


class LaunchQueue:
    """One queue for each uid and container.

    So no user waits for another, and nobody's launches wait for those of theirs that a silent container holds up.
    """

    def __init__(self, limits: Callable[[int], Limits]) -> None:
        """Take what gives the limits of a uid, which a reload may change."""
        self._limits = limits
        self._starting: Counter[Place] = Counter()
        self._waiting: dict[Place, deque[asyncio.Future[None]]] = {}

    def join(self, place: Place) -> asyncio.Future[None]:
        """Give what is done when the turn has come; whoever joins must leave. Raises LimitExceeded."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        uid, container = place
        waiting = self._waiting.get(place)
        bounds = self._limits(uid)
        if not waiting and self._starting[place] < bounds.launches_starting:
            self._starting[place] += 1
            turn.set_result(None)
        elif len(waiting or ()) < bounds.launches_queued:
            self._waiting.setdefault(place, deque()).append(turn)
        else:
            under_way = self._starting[place] + len(waiting or ())
            reason = f"{under_way} launches of uid {uid} in container {container} are under way"
            raise LimitExceeded(reason=f"{reason}; try again when one is done")
        return turn

    def leave(self, place: Place, turn: asyncio.Future[None]) -> None:
        """Let the next one in; also for a turn that never came."""
        waiting = self._waiting.get(place, deque())
        if turn in waiting:
            waiting.remove(turn)
        else:
            self._starting[place] -= 1
        most = self._limits(place[0]).launches_starting
        while waiting and self._starting[place] < most:
            self._starting[place] += 1
            granted = waiting.popleft()
            if not granted.cancelled():
                granted.set_result(None)
        if not waiting:
            self._waiting.pop(place, None)
        if not self._starting[place]:
            del self._starting[place]
