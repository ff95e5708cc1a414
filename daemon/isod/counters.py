"""What isod holds right now, and how long it kept others waiting: written to the log on SIGUSR1."""

import asyncio
import os
import selectors
import time
from collections.abc import Iterable

from isod.core.app import App
from isod.core.container import Container


class MeasuringSelector(selectors.EpollSelector):
    """Knows the longest time between two waits, in which the loop served nobody else. Costs no wake-up."""

    def __init__(self) -> None:
        """Begin with a turn of length zero."""
        super().__init__()
        self._woken_sec = (time.perf_counter(), time.thread_time())
        self._longest_sec = (0.0, 0.0)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait, as the loop does after each turn."""
        self._note()
        ready = super().select(timeout)
        self._woken_sec = (time.perf_counter(), time.thread_time())
        return ready

    def _note(self) -> None:
        elapsed_sec = time.perf_counter() - self._woken_sec[0]
        if elapsed_sec > self._longest_sec[0]:
            self._longest_sec = (elapsed_sec, time.thread_time() - self._woken_sec[1])

    def longest_turn_sec(self) -> tuple[float, float]:
        """Give the longest turn since this was asked last: on the clock, and the processor time of that turn."""
        longest, self._longest_sec = self._longest_sec, (0.0, 0.0)
        return longest


class MeasuredLoop(asyncio.SelectorEventLoop):
    """The event loop that isod runs on."""

    def __init__(self) -> None:
        """Make the loop over its own selector."""
        self.selector = MeasuringSelector()
        super().__init__(self.selector)


def read(containers: Iterable[Container], apps: Iterable[App], sockets: int) -> dict[str, int]:
    """Give all counters by name; call it in the loop."""
    loop = asyncio.get_running_loop()
    elapsed_sec, busy_sec = loop.selector.longest_turn_sec() if isinstance(loop, MeasuredLoop) else (0.0, 0.0)
    return {
        # one of them is what lists the others
        "fds": len(os.listdir("/proc/self/fd")) - 1,
        "tasks": len(asyncio.all_tasks()),
        "containers": sum(1 for container in containers if container.guest is not None),
        "apps": sum(1 for app in apps if app.record.running or not app.ended),
        "sockets": sockets,
        "turn_ms": round(elapsed_sec * 1000),
        "turn_busy_ms": round(busy_sec * 1000),
    }
