"""A compositor that speaks as much of the Wayland protocol as isod-session does, and misbehaves on request."""

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isod_session.wayland import CONTEXT_MANAGER

PLAIN = ("wl_compositor", "wl_shm", "xdg_wm_base", "zwlr_screencopy_manager_v1", "zwlr_layer_shell_v1")
CONTAINED = ("wl_compositor", "wl_shm", "xdg_wm_base")


def event(sender: int, opcode: int, body: bytes = b"") -> bytes:
    return struct.pack("=II", sender, (8 + len(body)) << 16 | opcode) + body


def text(value: str) -> bytes:
    data = value.encode() + b"\0"
    return struct.pack("=I", len(data)) + data + b"\0" * (-len(data) % 4)


def offer(name: int, interface: str, registry: int = 2) -> bytes:
    return event(registry, 0, struct.pack("=I", name) + text(interface) + struct.pack("=I", 1))


@dataclass(eq=False)
class Context:
    """One security context."""

    listener: socket.socket
    close_fd: int
    texts: dict[int, str] = field(default_factory=dict)

    @property
    def app_id(self) -> str:
        return self.texts[2]

    @property
    def inode(self) -> int:
        return os.fstat(self.listener.fileno()).st_ino


@dataclass(eq=False)
class Client:
    """One connection, from a context or not."""

    sock: socket.socket
    contained: bool
    buffer: bytes = b""
    fds: list[int] = field(default_factory=list)
    managers: set[int] = field(default_factory=set)
    contexts: dict[int, Context] = field(default_factory=dict)


class FakeCompositor:
    """Runs in a thread of its own, since isod-session's side blocks."""

    def __init__(
        self,
        path: Path,
        *,
        offers: tuple[str, ...] = PLAIN,
        contained: tuple[str, ...] | None = CONTAINED,
        raw: Callable[[Client], bool] | None = None,
    ) -> None:
        """`contained` is what clients of a context are offered, None without contexts.

        `raw` deals with a new connection in another way; false closes it.
        """
        self.path = path
        self.offers, self.contained, self.raw = offers, contained, raw
        self.contexts: list[Context] = []
        self.registered: list[str] = []
        self.refuses: set[str] = set()
        self.connections = 0
        self._selector = selectors.DefaultSelector()
        self._stop_read, self._stop_write = os.pipe()
        self._clients: list[Client] = []
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._watch(self._stop_read, lambda: None)
        self._watch(self._listener, lambda: self._accept(self._listener, contained=False))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self, *, unlinks: bool = True) -> None:
        """End as a compositor does, or as one that was killed."""
        if self._stop_write < 0:
            return
        os.close(self._stop_write)
        self._stop_write = -1
        self._thread.join(10)
        assert not self._thread.is_alive()
        for client in self._clients:
            self._close(client)
        for context in self.contexts:
            self._end(context)
        self._listener.close()
        os.close(self._stop_read)
        self._selector.close()
        if unlinks:
            self.path.unlink(missing_ok=True)

    def app_ids(self) -> list[str]:
        """Give the containers that are served now."""
        return sorted(context.app_id for context in list(self.contexts) if context.app_id != "probe")

    def _watch(self, what: int | socket.socket, act: Callable[[], object]) -> None:
        self._selector.register(what, selectors.EVENT_READ, act)

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._stop_read:
                    return
                key.data()

    def _accept(self, listener: socket.socket, *, contained: bool) -> None:
        client = Client(listener.accept()[0], contained)
        self.connections += 1
        if self.raw is not None and not self.raw(client):
            client.sock.close()
            return
        self._clients.append(client)
        self._watch(client.sock, lambda: self._read(client))

    def _read(self, client: Client) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(client.sock, 65536, 16)
        except OSError:
            data, fds = b"", []
        client.fds += fds
        client.buffer += data
        if not data:
            self._selector.unregister(client.sock)
            self._clients.remove(client)
            self._close(client)
            return
        while self.raw is None and len(client.buffer) >= 8:
            target, word = struct.unpack_from("=II", client.buffer)
            if len(client.buffer) < word >> 16:
                break
            body, client.buffer = client.buffer[8 : word >> 16], client.buffer[word >> 16 :]
            with contextlib.suppress(OSError):
                self._request(client, target, word & 0xFFFF, body)

    def _request(self, client: Client, target: int, opcode: int, body: bytes) -> None:
        if (target, opcode) == (1, 0):
            client.sock.sendall(event(struct.unpack("=I", body)[0], 0, bytes(4)) + event(1, 1, body))
        elif (target, opcode) == (1, 1):
            offers = self.contained if client.contained and self.contained is not None else self.offers
            if self.contained is not None and not client.contained:
                offers = (*offers, CONTEXT_MANAGER)
            for name, interface in enumerate(offers, 1):
                client.sock.sendall(offer(name, interface, struct.unpack("=I", body)[0]))
        elif (target, opcode) == (2, 0):
            client.managers.add(struct.unpack_from("=I", body, len(body) - 4)[0])
        elif target in client.managers and opcode == 1:
            listen_fd, close_fd = client.fds.pop(0), client.fds.pop(0)
            client.contexts[struct.unpack("=I", body)[0]] = Context(socket.socket(fileno=listen_fd), close_fd)
        elif target in client.contexts and opcode in (1, 2, 3):
            client.contexts[target].texts[opcode] = body[4 : 3 + struct.unpack_from("=I", body)[0]].decode()
        elif target in client.contexts and opcode == 4:
            self._commit(client, client.contexts.pop(target))

    def _commit(self, client: Client, context: Context) -> None:
        if context.app_id in self.refuses:
            client.sock.sendall(event(1, 0, struct.pack("=II", 5, 3) + text("no")))
            self._end(context)
            return
        self.contexts.append(context)
        self.registered.append(context.app_id)
        self._watch(context.listener, lambda: self._accept(context.listener, contained=True))
        self._watch(context.close_fd, lambda: self._forget(context))

    def _forget(self, context: Context) -> None:
        self._selector.unregister(context.listener)
        self._selector.unregister(context.close_fd)
        self.contexts.remove(context)
        self._end(context)

    @staticmethod
    def _end(context: Context) -> None:
        context.listener.close()
        os.close(context.close_fd)

    @classmethod
    def _close(cls, client: Client) -> None:
        client.sock.close()
        for fd in client.fds:
            os.close(fd)
        for context in client.contexts.values():
            cls._end(context)


# -- ways to misbehave


def silent(_client: Client) -> bool:
    """Take the connection and answer nothing."""
    return True


def hangs_up(_client: Client) -> bool:
    """Close it at once."""
    return False


def sends(data: bytes) -> Callable[[Client], bool]:
    """Send something else than what was asked for."""

    def act(client: Client) -> bool:
        with contextlib.suppress(OSError):
            client.sock.sendall(data)
        return True

    return act


def keeps_sending(data: bytes, pause_sec: float) -> Callable[[Client], bool]:
    """Send the same again and again, for longer than anybody should listen."""

    def act(client: Client) -> bool:
        def send() -> None:
            end = time.monotonic() + 30
            with contextlib.suppress(OSError):
                while time.monotonic() < end:
                    client.sock.sendall(data)
                    time.sleep(pause_sec)

        threading.Thread(target=send, daemon=True).start()
        return True

    return act


@contextlib.contextmanager
def compositor(path: Path, **options: object) -> Iterator[FakeCompositor]:
    running = FakeCompositor(path, **options)  # type: ignore[arg-type]
    try:
        yield running
    finally:
        running.stop()
