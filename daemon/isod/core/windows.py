"""Whether a container's displays are in use, by whatever: apps of isod's, or what D-Bus and systemd started inside."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from isod.core.container import Container

_log = logging.getLogger(__name__)


class ShownSocket(NamedTuple):
    """One socket of a display in a container, and the account inside that reaches it."""

    uid: int
    path: str  # what the server is bound to, as the kernel lists it
    is_isods: bool = False  # isod listens on it; else a server of the host's


def bound_to(listener_fd: int) -> str:
    """Give what a listening socket is bound to. Does not block; raises OSError.

    For the loop, which owns the descriptor: by the time a thread looks the number may be another file's.
    """
    with contextlib.closing(_copy(listener_fd)) as listener:
        return str(listener.getsockname())


def _copy(listener_fd: int) -> socket.socket:
    copy_fd = os.dup(listener_fd)
    try:
        return socket.socket(fileno=copy_fd)
    except OSError:
        os.close(copy_fd)  # no socket at all: it has no other owner
        raise


class UnknownUse(Exception):
    """It can't be told."""


UsedBy = Callable[[int, Sequence[ShownSocket]], str]
"""`isod.host.display_use.used_by`: what uses these in the container of a pidfd; blocks; raises UnknownUse."""


class Windows:
    """Looks at the sockets that are shown in a container."""

    def __init__(self, shown: Callable[[Container], Sequence[ShownSocket]], used_by: UsedBy) -> None:
        """Take who knows the sockets, and who looks at them."""
        self._shown = shown
        self._used_by = used_by

    async def used_by(self, container: Container, guest: Any) -> str:
        """Give what uses a display of a running container, "" for nothing; what can't be told counts as used."""
        try:
            sockets = self._shown(container)
            if not sockets:
                return ""
            # Files of the kernel alone, which answer at once: it needs no turn at the container's own.
            return await asyncio.to_thread(self._used_by, guest.pidfd, sockets)
        except (UnknownUse, OSError) as error:
            _log.warning("container.use_unknown", extra={"container": container.name, "reason": str(error)})
            return "it can't be told what"
