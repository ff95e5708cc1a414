"""Work that blocks, in a thread, whose result is never lost."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def _nothing() -> None:
    """Do nothing: the work owns nothing."""


async def in_thread(
    work: Callable[..., T], *args: object, undo: Callable[[T], object], unbegun: Callable[[], object] = _nothing
) -> T:
    """Give what work gives; raises what it raises.

    Cancelled, it leaves at once, and the thread does not: what that then has, connections and descriptors, is given to
    `undo` by whoever comes last. Work that no thread has begun by then, or for lack of one, never begins: then
    `unbegun` lets go of what it was to own.
    """
    lock = threading.Lock()
    results: list[T] = []
    is_left, has_begun = threading.Event(), threading.Event()

    def body() -> None:
        with lock:
            # The executor keeps what it had no thread for, and begins it with the next.
            if is_left.is_set():
                return
            has_begun.set()
        result = work(*args)
        with lock:
            if not is_left.is_set():
                results.append(result)
                return
        undo(result)

    try:
        await asyncio.to_thread(body)
    except BaseException:
        with lock:
            is_left.set()
        if not has_begun.is_set():
            unbegun()
        for result in results:
            undo(result)
        raise
    return results[0]
