"""Steps for many apps of one container: a few at a time, each again until the container answers."""

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from isod_contract.errors import ContainerGone

# Each question has a deadline. With a thousand at once every one would wait for the others' answers and miss its own.
_AT_ONCE = 16
_PAUSE_MIN_SEC, _PAUSE_MAX_SEC = 0.5, 30.0


class Patience:
    """Turns by container, so that one that is silent holds up its own apps alone."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def turn(self, unit: str) -> asyncio.Semaphore:
        """Give what has a few at most at the container that is this unit of the host, for `async with`."""
        turns = self._turns.get(unit)
        if turns is None:
            turns = self._turns[unit] = asyncio.Semaphore(_AT_ONCE)
        return turns

    async def insist(self, unit: str, step: Callable[[], Awaitable[None]], *, is_over: Callable[[], bool]) -> None:
        """Take a step for an app in the container, until it is taken or is of no use.

        Silence, which is a ContainerGone of the step's, says nothing about the app: the step is taken again after a
        while, however often. Raises what else the step raises.
        """
        pause_sec = _PAUSE_MIN_SEC
        while True:
            async with self.turn(unit):
                if is_over():
                    return
                try:
                    await step()
                    return
                except ContainerGone:
                    if is_over():
                        return
            await asyncio.sleep(pause_sec)
            pause_sec = min(2 * pause_sec, _PAUSE_MAX_SEC)
