"""One D-Bus connection: calls out, calls in, signals both ways, and an orderly death."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from isod_wire.caps import Caps, Rate
from isod_wire.driver import BusDriver
from isod_wire.encode import EncodedBody
from isod_wire.errors import BadMessage, ConnectionLost, TooLarge
from isod_wire.flood import TokenBucket
from isod_wire.header import ALLOW_INTERACTIVE, NO_REPLY_EXPECTED, Route
from isod_wire.match import Handler, Match, MatchRule, Predicate
from isod_wire.message import Message, MessageKind
from isod_wire.pump import ReadPump
from isod_wire.reader import Refused
from isod_wire.sender import Sender
from isod_wire.shed import LoadShed
from isod_wire.subscriptions import Subscriptions

_log = logging.getLogger(__name__)

_REFUSAL_LOG_RATE = Rate(burst=10, per_sec=0.1)  # whoever may call us must not be able to fill the log
_DRAIN_SEC = 1.0
_ERROR_INTERNAL = "org.isoctl1.Error.Internal"
_ERROR_INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
_ERROR_LIMITS = "org.freedesktop.DBus.Error.LimitsExceeded"
_ERROR_UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"


@dataclass(frozen=True, slots=True)
class Stats:
    """What a connection went through, as of now."""

    max_turn_sec: float
    dropped_signals: int
    dropped_replies: int
    refused_messages: int
    stray_replies: int
    queue_bytes: int
    pending_calls: int


class Connection:
    """A connection to a bus, or to a peer if `unique_name` is empty; made by connect()."""

    def __init__(self, sock: socket.socket, caps: Caps, name: str) -> None:
        """Take over an authenticated, non-blocking socket and read from it; `name` is for logs."""
        self.unique_name = ""
        self.name = name
        self.close_reason: str | None = None
        self._sock = sock
        self._caps = caps
        self._closed = asyncio.Event()
        self._driver = BusDriver(self.call, self.call_no_reply)
        self._subscriptions = Subscriptions(self._driver)
        self._on_call: Handler | None = None
        self._unsolicited = TokenBucket(caps.unsolicited) if caps.unsolicited else None
        self._signals = TokenBucket(caps.signals) if caps.signals else None
        self._refusal_logs = TokenBucket(_REFUSAL_LOG_RATE)
        self._dropped_signals = self._dropped_replies = self._refused = self._strays = 0
        if caps.send_buffer_bytes is not None:
            # The kernel doubles it, for its own use (socket(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, caps.send_buffer_bytes // 2)
        self._sender = Sender(sock, caps, self._die)
        self.shed = LoadShed(self._refuse)
        self._pump = ReadPump(sock, caps, self.shed, self._on_frame, self._die, self._sender.queue.batch)
        self._pump.start()

    @property
    def closed(self) -> bool:
        """Whether the connection is gone; `close_reason` says why."""
        return self._closed.is_set()

    @property
    def stats(self) -> Stats:
        """Counters for the watchdog and the tests."""
        return Stats(
            max_turn_sec=self._pump.max_turn_sec,
            dropped_signals=self._dropped_signals,
            dropped_replies=self._dropped_replies,
            refused_messages=self._refused,
            stray_replies=self._strays,
            queue_bytes=self._sender.queue.queue_bytes,
            pending_calls=len(self._sender.calls),
        )

    def call(
        self,
        destination: str | None,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        fds: Sequence[int] = (),
        timeout_sec: float = 25.0,
        allow_interactive: bool = False,
        expect: str | None = None,
    ) -> Coroutine[Any, Any, Message]:
        """Call a method; awaiting the result gives the METHOD_RETURN message, which the caller must close.

        Encodes and duplicates `fds` before it returns, so the caller may close its own at once. Raises ValueError for
        a value that does not fit, TooLarge, and when awaited RemoteError, BadReply if the reply's signature is not
        `expect`, CallTimeout, ConnectionLost.
        """
        route = Route(
            kind=MessageKind.METHOD_CALL,
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            flags=ALLOW_INTERACTIVE if allow_interactive else 0,
        )
        return self._sender.call(self._sender.prepare(route, signature, body, fds), timeout_sec, expect)

    def call_no_reply(
        self,
        destination: str | None,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        fds: Sequence[int] = (),
    ) -> None:
        """Call a method and tell the peer not to answer; raises ValueError, TooLarge (also: queue full)."""
        route = Route(
            kind=MessageKind.METHOD_CALL,
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            flags=NO_REPLY_EXPECTED,
        )
        if not self._sender.post(self._sender.prepare(route, signature, body, fds)) and not self.closed:
            raise TooLarge("write queue is full")

    def reply(
        self, call: Message, signature: str = "", body: Sequence[Any] | EncodedBody = (), fds: Sequence[int] = ()
    ) -> int:
        """Answer a call; gives the answer's bytes. Copies `fds`. Raises ValueError for a value that does not fit.

        A reply over the size cap becomes the error LimitsExceeded; one that its reader does not fetch is dropped.
        """
        if call.no_reply_expected:
            return 0
        route = Route(kind=MessageKind.METHOD_RETURN, destination=call.sender, reply_serial=call.serial)
        try:
            prepared = self._sender.prepare(route, signature, body, fds)
        except TooLarge:
            self.reply_error(call, _ERROR_LIMITS, "The reply is too large")
            return self._caps.max_message_bytes
        size_bytes = len(prepared.data)
        if not self._sender.post(prepared):
            self._dropped_replies += 1
        return size_bytes

    def reply_error(self, call: Message, error_name: str, text: str) -> None:
        """Answer a call with an error; raises ValueError for an invalid name or text."""
        if call.no_reply_expected:
            return
        route = Route(kind=MessageKind.ERROR, destination=call.sender, reply_serial=call.serial, error_name=error_name)
        if not self._sender.post(self._sender.prepare(route, "s", [text])):
            self._dropped_replies += 1

    def refuse(self, call: Message, error_name: str, text: str) -> None:
        """Answer a call as reply_error does, cheaply, where the same caller may get the same error again and again."""
        if not call.no_reply_expected:
            self._refuse(call.sender, call.serial, error_name, text)

    def _refuse(self, sender: str | None, serial: int, error_name: str, text: str) -> None:
        if not self._sender.refuse(sender, serial, error_name, text):
            self._dropped_replies += 1

    def emit(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        destination: str | None = None,
    ) -> None:
        """Send a signal, to everybody or to one name; dropped and counted if over a cap. Raises ValueError."""
        route = Route(kind=MessageKind.SIGNAL, destination=destination, path=path, interface=interface, member=member)
        try:
            sent = self._sender.post(self._sender.prepare(route, signature, body))
        except TooLarge:
            sent = False
        if not sent:
            self._dropped_signals += 1

    async def add_match(self, rule: MatchRule | str, handler: Handler, *, predicate: Predicate | None = None) -> Match:
        """Have `handler` called with each signal that `rule` and `predicate` want, until Match.remove().

        With a MatchRule the sender is checked here too, as anyone can send a signal straight to us; a rule given as
        text is only sent to the bus, so it needs a predicate that does. The handler must not block, and must not keep
        the message's descriptors. Returns once the bus has the rule. Raises ValueError, RemoteError, ConnectionLost.
        """
        if isinstance(rule, MatchRule):
            return await self._subscriptions.add_rule(rule, handler, predicate)
        if predicate is None:
            raise ValueError("a match rule given as text needs a predicate")
        return await self._subscriptions.add_text(rule, handler, predicate)

    def share(self, lane_of: Callable[[str | None], Hashable]) -> None:
        """Send to parties in turn: messages to destinations of one lane keep their order, and wait for no other's."""
        self._sender.queue.lane_of = lane_of

    def on_call(self, handler: Handler) -> None:
        """Give every METHOD_CALL to `handler`, which owns the message and must close it.

        If it raises BadMessage the caller gets InvalidArgs, for any other exception Internal with an id that is in
        the log, never text; the message is closed in both cases.
        """
        self._on_call = handler

    async def request_name(self, name: str, *, replace: bool = False) -> None:
        """Own `name`, taking it from its owner if `replace` and the owner allows; raises WireError if it is taken."""
        await self._driver.request_name(name, replace=replace)

    async def name_owner(self, name: str) -> str | None:
        """Return the unique name that owns `name`, None if nobody does."""
        return await self._driver.name_owner(name)

    async def hello(self) -> None:
        """Register with the bus; connect() does this. Raises WireError if it gives no unique name."""
        self.unique_name = await self._driver.hello()
        self._subscriptions.use_bus()

    async def wait_closed(self) -> None:
        """Return once the connection is gone."""
        await self._closed.wait()

    async def close(self) -> None:
        """Write what is queued, for at most a second, then close; open calls end with ConnectionLost."""
        try:
            async with asyncio.timeout(_DRAIN_SEC):
                await self._sender.queue.emptied.wait()
        except TimeoutError:
            pass
        finally:
            self._die("closed")

    def _die(self, reason: str) -> None:
        if self.closed:
            return
        self.close_reason = reason
        self._closed.set()
        # First unregister from the loop, then close: a new socket with the same number must not inherit our watch.
        self._pump.stop()
        self._subscriptions.end()
        self._sender.lose(ConnectionLost(reason))
        self._sock.close()

    def _on_frame(self, frame: Message | Refused) -> None:
        if isinstance(frame, Refused):
            self._on_refused(frame)
        elif frame.kind is MessageKind.SIGNAL:
            self._on_signal(frame)
        elif frame.kind is MessageKind.METHOD_CALL:
            self._dispatch_call(frame)
        elif not self._sender.calls.resolve(frame):
            frame.close()
            self._strays += 1
            self._charge(self._unsolicited)

    def _on_refused(self, refused: Refused) -> None:
        self._refused += 1
        if self._refusal_logs.take():
            _log.warning("wire.message_refused connection=%s reason=%r", self.name, refused.reason)
        if refused.violation and self._caps.disconnect_on_violation:
            self._die(f"protocol violation: {refused.reason}")
            return
        self._charge(self._unsolicited)
        header = refused.header
        if header is None or self.closed:
            return
        if header.kind is MessageKind.METHOD_CALL:
            self.reply_error(header, _ERROR_LIMITS, f"Refused: {refused.reason}")
        elif header.kind is not MessageKind.SIGNAL:
            self._sender.calls.refuse(header, refused.reason)

    def _on_signal(self, message: Message) -> None:
        with message:
            if self._charge(self._signals) and not self._subscriptions.dispatch(message) and self.unique_name:
                self._charge(self._unsolicited)

    def _dispatch_call(self, call: Message) -> None:
        if not self._charge(self._unsolicited):
            call.close()
            return
        if self._on_call is None:
            self.reply_error(call, _ERROR_UNKNOWN_METHOD, "No methods here")
            call.close()
            return
        try:
            self._on_call(call)
        except BadMessage as error:
            self.reply_error(call, _ERROR_INVALID_ARGS, f"Invalid message: {error}")
            call.close()
        except Exception:  # noqa: BLE001 - whatever a handler does, the connection and the other callers stay
            incident = secrets.token_hex(4)
            _log.exception("wire.call_handler_failed incident=%s %r", incident, call)
            self.reply_error(call, _ERROR_INTERNAL, f"Internal error {incident}")
            call.close()

    def _charge(self, bucket: TokenBucket | None) -> bool:
        """Count one message against a rate; False if that was one too many, which ends the connection."""
        if bucket is None or bucket.take():
            return True
        self._die("the peer floods the connection")
        return False
