"""Work that goes on in the background: kept alive, ended together, and never silent when it fails."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from isod_contract.errors import IsodError

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Background:
    """Tasks that nobody needs to wait for; the loop itself holds them only weakly (asyncio.create_task)."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin some work."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Whoever waits for it sees this too; often nobody does. What is told to callers is no fault of isod's.
        if not task.cancelled() and (error := task.exception()) is not None:
            level = logging.INFO if isinstance(error, IsodError) else logging.WARNING
            _log.log(level, "background.failed", extra={"reason": f"{type(error).__name__}: {error}"})

    async def settle(self) -> None:
        """Wait until nothing is left, what is begun meanwhile included."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def close(self) -> None:
        """End all that is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
