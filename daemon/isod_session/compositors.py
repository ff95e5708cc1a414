"""What the display has done in threads: looking at a compositor, registering security contexts; all of it blocks."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from isod_session.exposure import Exposure, judge
from isod_session.wayland import CONTEXT_MANAGER, Compositor, WaylandError, contained_versions

_ENGINE = "org.isoctl"
_CONNECT_SEC = 2.0


@dataclass(frozen=True, slots=True)
class Served:
    """A compositor that answers."""

    path: Path
    compositor: Compositor
    exposure: Exposure
    socket_fd: int  # O_PATH

    def close(self) -> None:
        """Let go of it."""
        self.compositor.close()
        os.close(self.socket_fd)


def register(path: Path, listen_fd: int, container: str) -> int:
    """Have clients of a listening socket, which is ours to close, served; gives the pipe that ends it.

    Raises WaylandError; OSError where there are no descriptors.
    """
    try:
        close_read, close_write = os.pipe2(os.O_CLOEXEC)
    except OSError:
        os.close(listen_fd)
        raise
    try:
        # A connection for each: its objects end with it, the contexts stay.
        with Compositor.connect(str(path)) as compositor:
            compositor.register_context(listen_fd, close_read, _ENGINE, container, container)
    except BaseException:
        os.close(close_write)
        raise
    finally:
        os.close(close_read)
        os.close(listen_fd)
    return close_write


def connect_privately(served: Served, path: Path, container: str) -> tuple[socket.socket, int]:
    """Give a connection for a server of this user's that works for a container, and a pipe that ends its context.

    On a compositor without security contexts it is the plain one (-1: no pipe): what the server offers is not Wayland.
    `path` is where a socket can be made for a moment. Raises WaylandError.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.settimeout(_CONNECT_SEC)
    close_fd = -1
    try:
        if served.exposure.mode != "context":
            connection.connect(str(served.path))
            connection.settimeout(None)
            return connection, -1
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            try:
                listener.listen(1)
                close_fd = register(served.path, os.dup(listener.fileno()), container)
                # Connected, it needs no file that could go stale, or be reached by others.
                connection.connect(str(path))
            finally:
                path.unlink(missing_ok=True)
        connection.settimeout(None)
        return connection, close_fd
    except BaseException as error:
        connection.close()
        if close_fd >= 0:
            os.close(close_fd)
        if isinstance(error, OSError):
            raise WaylandError(f"{path}: {error.strerror or error}") from None
        raise


def look_at(path: Path, runtime_directory: Path) -> Served:
    """Connect to a compositor and judge what it offers. Raises WaylandError."""
    try:
        socket_fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise WaylandError(f"{path}: {error.strerror}") from None
    try:
        compositor = Compositor.connect(str(path))
        try:
            contained = None
            if CONTEXT_MANAGER in compositor.globals:
                contained = _probe(path, runtime_directory)
            return Served(path, compositor, judge(compositor.versions, contained), socket_fd)
        except BaseException:
            compositor.close()
            raise
    except BaseException as error:
        os.close(socket_fd)
        if isinstance(error, OSError):
            raise WaylandError(f"{runtime_directory}/isoctl: {error.strerror}") from None
        raise


def _probe(path: Path, runtime_directory: Path) -> dict[str, int]:
    directory = runtime_directory / "isoctl"
    directory.mkdir(mode=0o700, exist_ok=True)
    probe = directory / f"probe-{os.getpid()}"
    probe.unlink(missing_ok=True)
    with Compositor.connect(str(path)) as compositor:
        return contained_versions(compositor, str(probe), _ENGINE)
