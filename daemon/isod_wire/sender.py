"""Sending for a connection: encodes messages, gives them serials, and applies the caps of the write queue."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from isod_wire.calls import CallSlots, CallTable
from isod_wire.caps import Caps
from isod_wire.encode import EncodedBody, encode_body
from isod_wire.errors import CallTimeout, ConnectionLost, TooLarge, WireError
from isod_wire.fds import FdSet
from isod_wire.header import Route, encode_header, set_reply_serial, set_serial
from isod_wire.message import Message, MessageKind
from isod_wire.outgoing import Outgoing
from isod_wire.writer import WriteQueue


@dataclass(slots=True)
class Prepared:
    """A message that is encoded and owns copies of its descriptors, but has no serial yet."""

    route: Route
    data: bytearray
    fds: FdSet


class Sender:
    """The writing half of a connection, with the calls that wait for replies."""

    def __init__(self, sock: socket.socket, caps: Caps, on_broken: Callable[[str], None]) -> None:
        """Write to `sock`; `on_broken(reason)` is called once the socket fails for good."""
        self._caps = caps
        self._slots = CallSlots(caps.max_outstanding_calls, caps.max_calls_per_destination)
        self._lost: ConnectionLost | None = None
        self.calls = CallTable()
        self.queue = WriteQueue(asyncio.get_running_loop(), sock, caps, on_broken)

    def prepare(
        self, route: Route, signature: str, body: Sequence[Any] | EncodedBody, fds: Sequence[int] = ()
    ) -> Prepared:
        """Encode a message and duplicate its descriptors at once.

        At once, because the caller may close its own before the message is written, and the number may by then be
        another file. Raises ValueError for a bad value, TooLarge, OSError for a bad descriptor.
        """
        encoded = encode_body(signature, body)
        data = bytearray(encode_header(route, 0, signature, len(encoded), len(fds)))
        data += encoded
        if len(data) > self._caps.max_message_bytes:
            raise TooLarge(f"message over {self._caps.max_message_bytes} bytes")
        return Prepared(route, data, FdSet.duplicate(fds))

    def post(self, message: Prepared) -> bool:
        """Send a message that gets no reply; False if it was dropped because of a cap or the connection's end."""
        return self.queue.push(self._outgoing(message, self.calls.next_serial()))

    def refuse(self, destination: str | None, reply_serial: int, error_name: str, text: str) -> bool:
        """Send an error when nothing else waits, and for little: a peer may get thousands. Raises ValueError."""
        data = bytearray(_encoded_error(destination, error_name, text))
        set_serial(data, self.calls.next_serial())
        set_reply_serial(data, reply_serial)
        return self.queue.push_idle(Outgoing(data, destination, FdSet()))

    async def call(self, message: Prepared, timeout_sec: float, expect: str | None) -> Message:
        """Send a call and wait for its reply, the time spent waiting for a slot included."""
        destination = message.route.destination
        try:
            async with asyncio.timeout(timeout_sec):
                await self._slots.acquire(destination)
                try:
                    return await self._exchange(message, expect)
                finally:
                    self._slots.release(destination)
        except TimeoutError:
            message.fds.close()
            route = message.route
            raise CallTimeout(f"no reply from {destination} to {route.interface}.{route.member}") from None
        except BaseException:
            message.fds.close()
            raise

    def lose(self, error: ConnectionLost) -> None:
        """Fail every call, now and later."""
        self._lost = error
        self.queue.close()
        self.calls.fail_all(error)

    async def _exchange(self, message: Prepared, expect: str | None) -> Message:
        if self._lost:
            raise ConnectionLost(*self._lost.args)
        serial = self.calls.next_serial()
        # Registered before it is written: the reply may be read in the very next turn.
        call = self.calls.add(serial, message.route.destination, expect)
        item = self._outgoing(message, serial)
        item.on_unsendable = lambda: self.calls.fail(serial, WireError("the kernel refused the file descriptors"))
        message.fds = FdSet()  # the queue's now
        try:
            if not self.queue.push(item) and not call.future.done():
                raise TooLarge("write queue is full")
            return await call.future
        except asyncio.CancelledError:
            # The reply may have been read in the same turn in which we are cancelled: then nobody else closes it.
            if call.future.done() and not call.future.cancelled() and call.future.exception() is None:
                call.future.result().close()
            raise
        finally:
            self.calls.remove(serial)
            item.drop()

    @staticmethod
    def _outgoing(message: Prepared, serial: int) -> Outgoing:
        set_serial(message.data, serial)
        return Outgoing(message.data, message.route.destination, message.fds)


# For as many connections as a broker gives one user.
@lru_cache(maxsize=4096)
def _encoded_error(destination: str | None, error_name: str, text: str) -> bytes:
    body = encode_body("s", [text])
    route = Route(kind=MessageKind.ERROR, destination=destination, reply_serial=1, error_name=error_name)
    return encode_header(route, 0, "s", len(body), 0) + body
