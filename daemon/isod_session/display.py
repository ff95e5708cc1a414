"""The live compositor: found, judged, followed through its restarts, and made to serve containers' sockets.

Rule for several compositors of one user: one serves all containers. That is the one which the last caller chose (see
`isod_session.choice`), else the one that the user manager's environment names (compositors announce themselves there),
else the one that this service was started under, else the newest socket in the runtime directory that answers.
"""

import asyncio
import logging
import math
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from isod_session.compositors import Served, connect_privately, look_at, register
from isod_session.inotify import watching
from isod_session.persistence import persist
from isod_session.threads import in_thread
from isod_session.wayland import WaylandError

_log = logging.getLogger(__name__)

# How long clients wait in the sockets for a compositor that went away.
PATIENCE_SEC = 10.0
_RETRY_SEC = 0.05
_LOOK_SEC = 10.0
_CHOICE_SEC = 2.0
_RETRY_FOR_SEC = 2.0  # a socket stands there before its compositor listens


@dataclass(slots=True)
class _Context:
    """One container's listening socket, and the pipe whose closing ends what the compositor does with it."""

    listen_fd: int
    close_fd: int = -1

    def is_of(self, listen_fd: int) -> bool:
        return os.path.sameopenfile(self.listen_fd, listen_fd)

    def end(self) -> None:
        if self.close_fd >= 0:
            os.close(self.close_fd)
            self.close_fd = -1


class Display:
    """Follows the compositor; `changed` is awaited whenever there is another one, or none for too long."""

    def __init__(self, runtime_directory: Path, changed: Callable[[], Awaitable[None]]) -> None:
        """Take the user's XDG_RUNTIME_DIR."""
        self._directory = runtime_directory
        self._changed = changed
        self._environment: Mapping[str, str] = {}
        self._chosen: list[Path] = []
        self._contexts: dict[str, _Context] = {}
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._reconsider = asyncio.Event()
        self._found = asyncio.Event()
        self._made = asyncio.Event()
        self.served: Served | None = None
        self.told: Served | None = None  # what isod was last told of; stays for a while when the compositor went away

    def begin(self, environment: Mapping[str, str]) -> None:
        """Begin to look for a compositor."""
        self._environment = environment
        self._task = asyncio.create_task(self._follow())

    async def settled(self) -> None:
        """Wait until it was looked for once."""
        await self._looked.wait()

    def environment_changed(self, environment: Mapping[str, str]) -> bool:
        """Take the session's variables; tells whether they now name another compositor than the one that serves."""
        before = self._named(self._environment)
        self._environment = environment
        named = self._named(environment)
        if not named or named == before:
            return False
        self._chosen = []
        return self.served is not None and named[0] != self.served.path

    def reconsider(self) -> None:
        """Look again which compositor is to serve."""
        self._reconsider.set()
        self._made.set()

    def path_of(self, name: str) -> Path:
        """Give the socket that a value of WAYLAND_DISPLAY means."""
        return self._directory / name

    async def answers(self, path: Path) -> bool:
        """Tell whether a compositor of this user's answers there."""
        try:
            if not _is_own_socket(path):
                return False
            (await in_thread(look_at, path, self._directory, undo=Served.close)).close()
        except (OSError, WaylandError):
            return False
        return True

    async def choose(self, path: Path) -> None:
        """Have this compositor serve from now on, before all others, and wait until isod knows, or for a while."""
        self._chosen = [path]
        self.reconsider()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CHOICE_SEC):
                while self.served is None or self.served.path != path:
                    self._found.clear()
                    await self._found.wait()

    async def close(self) -> None:
        """Let go of everything; what is connected stays so."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._drop_contexts()
        served, self.served = self.served, None
        if served is not None:
            served.close()

    async def serve(self, container: str, listen_fd: int) -> None:
        """Have the compositor serve a container's socket; owns the descriptor. Called again with the same: nothing."""
        known = self._contexts.get(container)
        if known is not None and known.is_of(listen_fd) and known.close_fd >= 0:
            os.close(listen_fd)
            return
        if known is not None:
            known.end()
            os.close(known.listen_fd)
        self._contexts[container] = _Context(listen_fd)
        await self._register(container)

    async def connect_private(self, container: str) -> tuple[socket.socket, int]:
        """Give a connection for a server of this user's that works for a container, and a pipe that ends it (-1: none).

        Raises WaylandError.
        """
        served = self.served
        if served is None:
            raise WaylandError("no compositor answers")
        path = self._directory / f"isoctl/wayland-{container}"
        return await in_thread(connect_privately, served, path, container, undo=_disconnect)

    def forget(self, container: str) -> None:
        """End what is done for a container: no new client is served."""
        context = self._contexts.pop(container, None)
        if context is not None:
            context.end()
            os.close(context.listen_fd)

    async def _register(self, container: str) -> None:
        async with self._turn:
            served, context = self.served, self._contexts.get(container)
            if served is None or context is None or context.close_fd >= 0 or served.exposure.mode != "context":
                return
            # What is short for a moment, an OSError or a RuntimeError, is the caller's to try again.
            copy_fd = os.dup(context.listen_fd)
            try:
                close_fd = await in_thread(
                    register, served.path, copy_fd, container, undo=os.close, unbegun=lambda: os.close(copy_fd)
                )
            except WaylandError as error:
                _log.warning("container %s has no display: %s", container, error)
                return
            if self.served is served and self._contexts.get(container) is context:
                context.close_fd = close_fd
            else:
                # Meanwhile the grant was withdrawn, or the compositor went: this context must not be what lasts.
                os.close(close_fd)

    async def _follow(self) -> None:
        await persist("the compositor is not followed", self._follow_one)

    async def _follow_one(self) -> None:
        self._reconsider.clear()
        self.served = await self._find()
        self._looked.set()
        if self.served is None:
            await self._without()
            return
        self.told = self.served
        try:
            for container in list(self._contexts):
                await self._register(container)
            await self._changed()
            self._found.set()
            await self._until_gone(self.served)
        finally:
            for context in self._contexts.values():
                context.end()
            gone, self.served = self.served, None
            if gone is not None:
                gone.close()
        # One that answers and leaves, again and again, must not keep us and isod busy.
        if not self._reconsider.is_set():
            await asyncio.sleep(_RETRY_SEC)

    async def _find(self) -> Served | None:
        for path in self._candidates():
            try:
                return await in_thread(look_at, path, self._directory, undo=Served.close)
            except WaylandError as error:
                _log.info("no compositor: %s", error)
        return None

    def _named(self, environment: Mapping[str, str]) -> list[Path]:
        name = environment.get("WAYLAND_DISPLAY", "")
        return [self.path_of(name)] if name else []

    def _candidates(self) -> list[Path]:
        candidates = self._chosen + self._named(self._environment)
        found: list[tuple[int, Path]] = []
        for path in self._directory.glob("wayland-*"):
            with suppress(OSError):
                if _is_own_socket(path):
                    found.append((path.lstat().st_mtime_ns, path))
        candidates += [path for _, path in sorted(found, reverse=True)]
        return list(dict.fromkeys(candidates))

    async def _without(self) -> None:
        """Wait for a compositor; after a while tell isod that there is none, and turn away who waits."""
        loop = asyncio.get_running_loop()
        gives_up_sec = loop.time() + PATIENCE_SEC if self.told is not None else None
        with watching(str(self._directory)) as made:
            self._made = made
            # Between the look and the watch one may have come: look at once, then whenever something is made.
            while not await self._comes_up(gives_up_sec):
                looks_sec = (
                    loop.time() + _LOOK_SEC if any(path.is_socket() for path in self._candidates()) else math.inf
                )
                with suppress(TimeoutError):
                    # One that stands there and does not answer may, once we have descriptors again.
                    async with asyncio.timeout_at(min(gives_up_sec or math.inf, looks_sec)):
                        await made.wait()
                made.clear()
                if gives_up_sec is not None and loop.time() >= gives_up_sec:
                    gives_up_sec, self.told = None, None
                    self._drop_contexts()
                    await self._changed()

    async def _comes_up(self, until_sec: float | None) -> bool:
        """Tell whether a compositor answers, or does within a moment where a socket stands already."""
        loop = asyncio.get_running_loop()
        ends_sec = min(loop.time() + _RETRY_FOR_SEC, until_sec or math.inf)
        while any(path.is_socket() for path in self._candidates()):
            found = await self._find()
            if found is not None:
                found.close()
                return True
            if loop.time() >= ends_sec:
                break
            await asyncio.sleep(_RETRY_SEC)
        return False

    async def _until_gone(self, served: Served) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(served.compositor, readable.set)
        try:
            while True:
                waits = [asyncio.create_task(event.wait()) for event in (readable, self._reconsider)]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
                readable.clear()
                if self._reconsider.is_set() or not served.compositor.skip_events():
                    return
        finally:
            loop.remove_reader(served.compositor)

    def _drop_contexts(self) -> None:
        for container in list(self._contexts):
            self.forget(container)


def _disconnect(private: tuple[socket.socket, int]) -> None:
    connection, close_fd = private
    connection.close()
    if close_fd >= 0:
        os.close(close_fd)


def _is_own_socket(path: Path) -> bool:
    """Tell whether a path is a socket of this user's; raises OSError."""
    status = path.lstat()
    return stat.S_ISSOCK(status.st_mode) and status.st_uid == os.getuid()
