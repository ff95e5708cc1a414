"""Loops that must go on: what is short for a moment, descriptors or threads, ends none of them, and is told."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from isod_session.wayland import WaylandError
from isod_wire import WireError

_log = logging.getLogger(__name__)

RETRY_SEC = 1.0
_TELL_SEC = 60.0  # the same again
SHORTAGES = (OSError, RuntimeError, WireError, WaylandError)
"""What a step may raise for which the next one may go well; RuntimeError is "can't start new thread"."""


async def persist(what: str, step: Callable[[], Awaitable[None]]) -> None:
    """Do a step again and again, after a second where it failed; `what` names in the journal what waits meanwhile."""
    told, told_sec = "", 0.0
    while True:
        try:
            await step()
        except SHORTAGES as error:
            now_sec = asyncio.get_running_loop().time()
            if str(error) != told or now_sec >= told_sec + _TELL_SEC:
                told, told_sec = str(error), now_sec
                _log.warning("%s: %s; trying again", what, error)
            await asyncio.sleep(RETRY_SEC)
