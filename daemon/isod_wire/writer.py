"""The write queue: survives a full socket buffer, keeps descriptors open until they are sent, and is bounded."""

import asyncio
import contextlib
import errno
import socket
from array import array
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator

from isod_wire.caps import Caps
from isod_wire.lanes import Lanes
from isod_wire.outgoing import Outgoing

_BATCH_MESSAGES = 32
# Little at once: what the kernel has of it can't be overtaken by the reply to another any more.
_BATCH_BYTES = 1024
_IDLE_BATCH_MESSAGES = 4
_IDLE_MESSAGES_MAX = 1024
_IDLE = object()


class WriteQueue:
    """Writes messages to one non-blocking socket: to one party in order, among parties in turn."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, caps: Caps, on_broken: Callable[[str], None]
    ) -> None:
        """Write to `sock`; `on_broken(reason)` is called once the socket fails for good."""
        self._loop = loop
        self._sock = sock
        self._caps = caps
        self._on_broken = on_broken
        self._lanes = Lanes()
        self._queue: deque[Outgoing] = deque()  # those whose turn it is
        self._idle: deque[Outgoing] = deque()
        self._bytes_by_destination: Counter[str | None] = Counter()
        self._closed = False
        self._waiting = False  # for the socket to become writable
        self._batching = False
        self.lane_of: Callable[[str | None], Hashable] = lambda _destination: None
        self.queue_bytes = 0
        self.emptied = asyncio.Event()
        self.emptied.set()

    def has_room(self, size: int, destination: str | None) -> bool:
        """Tell whether `size` more bytes to `destination` stay within the caps."""
        queued = self._bytes_by_destination.get(destination, 0)
        return (
            queued + size <= self._caps.max_queue_bytes and self.queue_bytes + size <= self._caps.max_total_queue_bytes
        )

    def push(self, item: Outgoing) -> bool:
        """Send `item` now or when the socket takes it; False (and its descriptors closed) if it is over the caps."""
        if self._closed or not self.has_room(len(item.data), item.destination):
            item.fds.close()
            return False
        item.lane = self.lane_of(item.destination)
        self._lanes.push(item)
        self._count(item)
        self.emptied.clear()
        if not self._waiting and not self._batching:
            self._flush()
        return True

    def push_idle(self, item: Outgoing) -> bool:
        """Send `item` once nothing else waits; False if so many wait for that already that it was dropped.

        A broker that is busy with many connections of one user reads little of ours: what that user is told must not
        stand before the replies of others.
        """
        if self._closed or len(self._idle) >= _IDLE_MESSAGES_MAX:
            item.fds.close()
            return False
        self._idle.append(item)
        self.emptied.clear()
        if not self._waiting and not self._batching:
            self._flush()
        return True

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Keep what is pushed in the block until its end, so that many small messages go out in one call."""
        self._batching = True
        try:
            yield
        finally:
            self._batching = False
            if (self._queue or self._lanes or self._idle) and not self._waiting:
                self._flush()

    def close(self) -> None:
        """Drop what is left and stop watching the socket."""
        self._closed = True
        self._stop_waiting()
        for item in (*self._queue, *self._lanes.clear()):
            self._forget(item)
        self._queue.clear()
        self._idle.clear()
        self.emptied.set()

    def _flush(self) -> None:
        try:
            while (self._queue or self._take_next()) and not self._closed:
                if self._queue[0].dropped and not self._queue[0].sent_bytes:
                    self._forget(self._queue.popleft())
                else:
                    self._send_some()
        except (BlockingIOError, InterruptedError):
            # dbus-next dies here. A slow reader makes the broker stop reading from us: wait, others queue behind.
            self._give_back()
            self._wait()
            return
        except OSError as error:
            self._closed = True
            self._stop_waiting()
            self._on_broken(f"write failed: {errno.errorcode.get(error.errno or 0, 'unknown error')}")
            return
        self._stop_waiting()
        if not self._queue:
            self.emptied.set()

    def _take_next(self) -> bool:
        """Choose what goes out in one call; False if there is nothing."""
        self._queue.extend(self._lanes.take(_BATCH_MESSAGES, _BATCH_BYTES))
        if not self._queue:
            for _ in range(min(_IDLE_BATCH_MESSAGES, len(self._idle))):
                item = self._idle.popleft()
                item.lane = _IDLE
                self._count(item)
                self._queue.append(item)
        return bool(self._queue)

    def _give_back(self) -> None:
        """Have what was chosen and not begun wait again: what comes meanwhile for another party has its turn first."""
        rest = []
        while self._queue and not self._queue[-1].sent_bytes:
            item = self._queue.pop()
            if item.lane is _IDLE:
                self._forget(item)
                self._idle.appendleft(item)
            else:
                rest.append(item)
        self._lanes.give_back(rest)

    def _count(self, item: Outgoing) -> None:
        self.queue_bytes += len(item.data)
        self._bytes_by_destination[item.destination] += len(item.data)

    def _send_some(self) -> None:
        """Send the first message if it carries descriptors, else as many as fit into one call."""
        first = self._queue[0]
        if len(first.fds) and not first.sent_bytes:
            self._send_with_fds(first)
            return
        parts: list[memoryview] = []
        for item in self._queue:
            if parts and (item.dropped or len(item.fds) or len(parts) == _BATCH_MESSAGES):
                break
            parts.append(memoryview(item.data)[item.sent_bytes :])
        self._account(self._sock.sendmsg(parts, [], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL))

    def _send_with_fds(self, item: Outgoing) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", item.fds.raw()))]
        try:
            sent = self._sock.sendmsg([item.data], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno not in (errno.ETOOMANYREFS, errno.EBADF):
                raise
            # Too many descriptors in flight for our user: this message can't go, the connection can.
            self._forget(self._queue.popleft())
            if item.on_unsendable:
                item.on_unsendable()
            return
        item.fds.close()
        self._account(sent)

    def _account(self, sent: int) -> None:
        while sent:
            item = self._queue[0]
            step = min(sent, len(item.data) - item.sent_bytes)
            item.sent_bytes += step
            sent -= step
            if item.sent_bytes == len(item.data):
                self._forget(self._queue.popleft())

    def _forget(self, item: Outgoing) -> None:
        item.fds.close()
        self.queue_bytes -= len(item.data)
        self._bytes_by_destination[item.destination] -= len(item.data)
        if not self._bytes_by_destination[item.destination]:
            del self._bytes_by_destination[item.destination]

    def _wait(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._loop.add_writer(self._sock, self._flush)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._sock)
