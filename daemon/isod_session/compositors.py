"""What the display has done in threads: looking at a compositor, registering security contexts; all of it blocks."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from isod_session.exposure import Exposure, judge
from isod_session.wayland import CONTEXT_MANAGER, Compositor, WaylandError, contained_globals

_ENGINE = "org.isoctl"


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

    Raises WaylandError.
    """
    close_read, close_write = os.pipe2(os.O_CLOEXEC)
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


def listen_privately(compositor_path: Path, path: Path, container: str) -> int:
    """Make a socket that leads to a security context; gives the pipe that ends it. Raises WaylandError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.listen(8)
            return register(compositor_path, listener.detach(), container)
    except OSError as error:
        raise WaylandError(f"{path}: {error.strerror or error}") from None


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
            return Served(path, compositor, judge(compositor.globals, contained), socket_fd)
        except BaseException:
            compositor.close()
            raise
    except BaseException as error:
        os.close(socket_fd)
        if isinstance(error, OSError):
            raise WaylandError(f"{runtime_directory}/isoctl: {error.strerror}") from None
        raise


def _probe(path: Path, runtime_directory: Path) -> frozenset[str]:
    directory = runtime_directory / "isoctl"
    directory.mkdir(mode=0o700, exist_ok=True)
    probe = directory / f"probe-{os.getpid()}"
    probe.unlink(missing_ok=True)
    with Compositor.connect(str(path)) as compositor:
        return contained_globals(compositor, str(probe), _ENGINE)
