"""Blocking work on a container's files, off the loop and with a deadline: a hostile FUSE mount may never answer."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from isod.core.background import Background
from isod_contract.errors import ContainerGone, LimitExceeded, UnsafePath

_DEADLINE_SEC = 5.0
# Threads that wait for files which never answer, of all containers: isod has TasksMax=64 for all that it does.
_STUCK_MAX = 24
_log = logging.getLogger(__name__)

T = TypeVar("T")


class Offload:
    """One worker at a time for one container; stuck work makes later calls fail at once instead of piling up."""

    _stuck_threads = 0  # of all containers

    def __init__(self, container: str) -> None:
        """Take the container's name, for errors."""
        self._container = container
        self._turn = asyncio.Lock()
        self._stuck = False
        self._closed = False
        self._working: set[asyncio.Future[Any]] = set()
        self._background = Background()

    async def close(self) -> None:
        """Take no more work, and wait until no thread is at any, however long that takes.

        Only then may the descriptors that it works from be closed: their numbers go to other files at once.
        """
        self._closed = True
        async with self._turn:
            if self._working:
                await asyncio.wait(self._working)

    def _worked(self, done: asyncio.Future[Any]) -> None:
        self._working.discard(done)
        if not done.cancelled():
            done.exception()  # nobody may be left to hear of it

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a daemon thread.

        Raises what it raises; UnsafePath after 5 s; ContainerGone after `close`; LimitExceeded while too many threads
        are stuck in other containers, or none can be made.
        """
        # In a task that no caller can cancel: one who gives up just before the deadline would leave a stuck thread that
        # nobody counts, and the turn to the next.
        gave_up: list[bool] = []
        task = self._background.spawn(self._run_in_turn(work, gave_up))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            gave_up.append(True)
            raise

    async def _run_in_turn(self, work: Callable[[], T], gave_up: list[bool]) -> T:
        async with self._turn:
            self._check()
            if gave_up:
                # What it works on may be closed by now.
                raise ContainerGone(container=self._container, reason="nobody waits for its files any more")
            loop = asyncio.get_running_loop()
            future: asyncio.Future[T] = loop.create_future()
            self._working.add(future)
            future.add_done_callback(self._worked)

            def settle(result: T | None, error: BaseException | None) -> None:
                if self._stuck:
                    self._stuck = False
                    Offload._stuck_threads -= 1
                if not future.done():
                    if error is not None:
                        future.set_exception(error)
                    else:
                        future.set_result(result)  # type: ignore[arg-type]

            def body() -> None:
                result: T | None = None
                error: BaseException | None = None
                try:
                    result = work()
                except BaseException as caught:  # noqa: BLE001 - carried over to the waiting task
                    error = caught
                try:
                    loop.call_soon_threadsafe(settle, result, error)
                except RuntimeError:
                    return  # the loop is closed: nobody waits any more

            # A daemon thread: a blocked one must not keep isod from ending.
            try:
                threading.Thread(target=body, name=f"files of {self._container}", daemon=True).start()
            except RuntimeError as error:
                # "can't start new thread": nothing works on it, so `close` must not wait for it.
                future.cancel()
                _log.warning("offload.no_thread", extra={"container": self._container, "reason": str(error)})
                raise LimitExceeded(reason="isod can start no more threads; try again later") from None
            try:
                return await asyncio.wait_for(asyncio.shield(future), _DEADLINE_SEC)
            except TimeoutError:
                if not future.done():
                    self._stuck = True
                    Offload._stuck_threads += 1
                raise self._silent() from None

    def _check(self) -> None:
        if self._closed:
            raise ContainerGone(container=self._container, reason="its files are gone")
        if self._stuck:
            raise self._silent()
        if Offload._stuck_threads >= _STUCK_MAX:
            raise LimitExceeded(reason=f"{_STUCK_MAX} containers have file systems that do not answer; stop one")

    def _silent(self) -> UnsafePath:
        return UnsafePath(path="/", container=self._container, reason=f"no answer within {_DEADLINE_SEC:.0f} s")
