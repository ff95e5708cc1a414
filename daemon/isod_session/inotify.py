"""inotify(7), as far as it takes to learn that something was made in a directory."""

import asyncio
import ctypes
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)

_IN_CREATE, _IN_MOVED_TO, _IN_ATTRIB = 0x100, 0x80, 0x4
_READ_BYTES = 64 * 1024
_LOOK_SEC = 1.0

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def watching(directory: str) -> Iterator[asyncio.Event]:
    """Give an event that is set whenever something was made in a directory; where that can't be watched, now and then.

    A user has only so many inotify instances, and other programs use them up.
    """
    loop = asyncio.get_running_loop()
    made = asyncio.Event()
    try:
        watch_fd = _watch(directory)
    except OSError as error:
        _log.warning("%s can't be watched: %s", directory, error.strerror)
        looking = loop.create_task(_set_now_and_then(made))
        try:
            yield made
        finally:
            looking.cancel()
        return

    def on_made() -> None:
        _drain(watch_fd)
        made.set()

    loop.add_reader(watch_fd, on_made)
    try:
        yield made
    finally:
        loop.remove_reader(watch_fd)
        os.close(watch_fd)


async def _set_now_and_then(event: asyncio.Event) -> None:
    while True:
        await asyncio.sleep(_LOOK_SEC)
        event.set()


def _watch(path: str) -> int:
    """Give a descriptor that is readable once something is made in a directory. Raises OSError."""
    fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0 or _libc.inotify_add_watch(fd, os.fsencode(path), _IN_CREATE | _IN_MOVED_TO | _IN_ATTRIB) < 0:
        code = ctypes.get_errno()
        if fd >= 0:
            os.close(fd)
        raise OSError(code, os.strerror(code), path)
    return int(fd)


def _drain(fd: int) -> None:
    """Throw away what has come."""
    try:
        while os.read(fd, _READ_BYTES):
            pass
    except BlockingIOError:
        return
