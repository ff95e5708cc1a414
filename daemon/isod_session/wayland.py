"""The few requests of the Wayland protocol that it takes to look at a compositor and to register a security context.

Sources: the Wayland book, chapter "Wire protocol basics"; wayland.xml; security-context-v1.xml of wayland-protocols.
Blocking, each with a deadline whatever comes meanwhile: it runs in a thread.
"""

import array
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

CONTEXT_MANAGER = "wp_security_context_manager_v1"
_TIMEOUT_SEC = 2.0
_EVENT_BYTES_MAX = 64 * 1024
_GLOBALS_MAX = 1024
# Object ids that we choose; 1 is wl_display by the protocol.
_DISPLAY, _REGISTRY, _CALLBACK, _MANAGER, _CONTEXT, _CALLBACK_2 = 1, 2, 3, 4, 5, 6


class WaylandError(Exception):
    """The compositor refused, broke the protocol, or did not answer in time."""


class Compositor:
    """One connection to a compositor."""

    def __init__(self, sock: socket.socket) -> None:
        """Take a connected socket."""
        self._socket = sock
        sock.settimeout(_TIMEOUT_SEC)
        self._buffer = b""
        self.globals: dict[str, int] = {}  # name of each offered interface
        self.versions: dict[str, int] = {}

    @classmethod
    def connect(cls, path: str) -> Self:
        """Connect to a socket and learn what is offered there. Raises WaylandError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        compositor = cls(sock)
        try:
            sock.connect(path)
            compositor._read_globals()
        except OSError as error:
            sock.close()
            raise WaylandError(f"{path}: {error.strerror or error}") from None
        except BaseException:
            sock.close()
            raise
        return compositor

    def __enter__(self) -> Self:
        """Hold it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Leave the compositor."""
        self._socket.close()

    def fileno(self) -> int:
        """Give the descriptor; it hangs up when the compositor ends."""
        return self._socket.fileno()

    def skip_events(self) -> bool:
        """Throw away what has come; tells whether the compositor is still there."""
        self._socket.setblocking(False)
        try:
            # Once: for what comes after it we are called again, and others get their turn in between.
            return bool(self._socket.recv(_EVENT_BYTES_MAX))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def register_context(self, listen_fd: int, close_fd: int, engine: str, app_id: str, instance_id: str) -> None:
        """Have clients of a listening socket served with restrictions until `close_fd` hangs up. Raises WaylandError.

        See security-context-v1.xml: engine and ids are what the compositor may show or decide by.
        """
        if CONTEXT_MANAGER not in self.globals:
            raise WaylandError(f"the compositor has no {CONTEXT_MANAGER}")
        bind = struct.pack("=I", self.globals[CONTEXT_MANAGER]) + _string(CONTEXT_MANAGER)
        try:
            self._send(_REGISTRY, 0, bind + struct.pack("=II", 1, _MANAGER))
            self._send(_MANAGER, 1, struct.pack("=I", _CONTEXT), (listen_fd, close_fd))
            for opcode, text in ((1, engine), (2, app_id), (3, instance_id)):
                self._send(_CONTEXT, opcode, _string(text))
            self._send(_CONTEXT, 4)  # commit
            self._send(_CONTEXT, 0)  # destroy: it is used up
            self._send(_MANAGER, 0)
            self._sync(_CALLBACK_2)
        except OSError as error:
            raise WaylandError(f"security context: {error.strerror or error}") from None

    def _read_globals(self) -> None:
        self._send(_DISPLAY, 1, struct.pack("=I", _REGISTRY))
        self._sync(_CALLBACK)

    def _sync(self, callback: int) -> None:
        """Wait until all requests so far are done."""
        self._send(_DISPLAY, 0, struct.pack("=I", callback))
        for sender, opcode, body in self._events(time.monotonic() + _TIMEOUT_SEC):
            if (sender, opcode) == (_DISPLAY, 0):
                _, code = _numbers(body)
                raise WaylandError(f"the compositor refused ({code}): {_text(body, 8)}")
            if (sender, opcode) == (_REGISTRY, 0):
                self._take_global(body)
            if sender == callback:
                return

    def _take_global(self, body: bytes) -> None:
        """Note one interface; of several with a name, the highest version. Raises WaylandError."""
        if len(self.globals) >= _GLOBALS_MAX:
            # What was not looked at may be anything.
            raise WaylandError(f"the compositor offers more than {_GLOBALS_MAX} interfaces")
        name, size = _numbers(body)
        interface = _text(body, 4)
        end = 8 + (size + 3 & ~3)
        if len(body) < end + 4:
            raise WaylandError("the compositor sent a message that is too short")
        self.globals[interface] = name
        (version,) = struct.unpack_from("=I", body, end)
        self.versions[interface] = max(version, self.versions.get(interface, 0))

    def _events(self, deadline_sec: float) -> Iterator[tuple[int, int, bytes]]:
        while True:
            while len(self._buffer) >= 8:
                sender, word = struct.unpack_from("=II", self._buffer)
                size = word >> 16
                if size < 8:
                    raise WaylandError("the compositor sent a message that is too short")
                if len(self._buffer) < size:
                    break
                body, self._buffer = self._buffer[8:size], self._buffer[size:]
                yield sender, word & 0xFFFF, body
            left_sec = deadline_sec - time.monotonic()
            if left_sec <= 0:
                raise WaylandError("the compositor did not answer in time")
            self._socket.settimeout(left_sec)
            data = self._socket.recv(_EVENT_BYTES_MAX)
            if not data:
                raise WaylandError("the compositor closed the connection")
            self._buffer += data

    def _send(self, target: int, opcode: int, body: bytes = b"", fds: Sequence[int] = ()) -> None:
        message = struct.pack("=II", target, (8 + len(body)) << 16 | opcode) + body
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        if self._socket.sendmsg([message], ancillary) != len(message):
            raise WaylandError("the compositor does not read")


def _numbers(body: bytes) -> tuple[int, int]:
    """Give the two numbers that a message begins with. Raises WaylandError."""
    if len(body) < 8:
        raise WaylandError("the compositor sent a message that is too short")
    first, second = struct.unpack_from("=II", body)
    return first, second


def _text(body: bytes, offset: int) -> str:
    """Give the text at an offset of a message, as far as it is there and can be shown. Raises WaylandError."""
    if len(body) < offset + 4:
        raise WaylandError("the compositor sent a message that is too short")
    (size,) = struct.unpack_from("=I", body, offset)
    data = body[offset + 4 : offset + 4 + max(0, size - 1)]
    return "".join(char if char.isprintable() else "?" for char in data.decode(errors="replace"))


def _string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("=I", len(data)) + data + b"\0" * (-len(data) % 4)


def contained_versions(compositor: Compositor, path: str, engine: str) -> dict[str, int]:
    """Give what a client of a security context is offered, versions by interface, by being one. Raises WaylandError.

    `path` is where a socket can be made for that, in a directory of the user's own.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
            close_read, close_write = os.pipe2(os.O_CLOEXEC)
            try:
                listener.bind(path)
                listener.listen(1)
                compositor.register_context(listener.fileno(), close_read, engine, "probe", "probe")
                with Compositor.connect(path) as inside:
                    return dict(inside.versions)
            finally:
                for fd in (close_read, close_write):
                    os.close(fd)
                with suppress(FileNotFoundError):
                    os.unlink(path)
    except OSError as error:
        raise WaylandError(f"{path}: {error.strerror or error}") from None
