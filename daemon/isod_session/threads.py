"""Work that blocks, in a thread, whose result is never lost."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *args: object, undo: Callable[[T], object]) -> T:
    """Give what work gives; raises what it raises.

    Cancelled, it leaves at once, and the thread does not: what that then has, connections and descriptors, is given to
    `undo` by whoever comes last.
    """
    lock = threading.Lock()
    results: list[T] = []
    is_left = threading.Event()

    def body() -> None:
        result = work(*args)
        with lock:
            if not is_left.is_set():
                results.append(result)
                return
        undo(result)

    try:
        await asyncio.to_thread(body)
    except asyncio.CancelledError:
        with lock:
            is_left.set()
        for result in results:
            undo(result)
        raise
    return results[0]
