"""Calls that wait for their reply: who may answer them, and how many may be out at once."""

import asyncio
import contextlib
from collections import Counter, deque
from dataclasses import dataclass

from isod_wire.errors import BadMessage, BadReply, RemoteError, TooLarge, WireError
from isod_wire.message import Message, MessageKind
from isod_wire.syntax import is_unique_name

BUS_NAME = "org.freedesktop.DBus"
_MAX_TEXT_CHARS = 1_024
_LAST_SERIAL = 0xFFFF_FFFF


@dataclass(slots=True)
class PendingCall:
    """One call on its way; the future gets the METHOD_RETURN message or the exception."""

    future: asyncio.Future[Message]
    destination: str | None
    expect: str | None


class CallTable:
    """The pending calls of one connection by serial."""

    def __init__(self) -> None:
        """Start with no calls and serial 1."""
        self._pending: dict[int, PendingCall] = {}
        self._serial = 0

    def __len__(self) -> int:
        """Count the pending calls."""
        return len(self._pending)

    def next_serial(self) -> int:
        """Return a serial that no pending call uses; 0 is not a serial."""
        while True:
            self._serial = self._serial % _LAST_SERIAL + 1
            if self._serial not in self._pending:
                return self._serial

    def add(self, serial: int, destination: str | None, expect: str | None) -> PendingCall:
        """Wait for the reply to `serial`."""
        call = PendingCall(asyncio.get_running_loop().create_future(), destination, expect)
        self._pending[serial] = call
        return call

    def remove(self, serial: int) -> None:
        """Stop waiting; a reply that comes later is a stray."""
        self._pending.pop(serial, None)

    def resolve(self, message: Message) -> bool:
        """Give a METHOD_RETURN or ERROR to its call; False if no call takes it, and then it stays the caller's."""
        call = self._pending.get(message.reply_serial)
        if call is None or call.future.done() or not _may_answer(message, call.destination):
            return False
        del self._pending[message.reply_serial]
        if message.kind is MessageKind.ERROR:
            call.future.set_exception(RemoteError(message.error_name or "", _error_text(message)))
            message.close()
        elif call.expect is not None and message.signature != call.expect:
            call.future.set_exception(BadReply(f"reply has signature {message.signature!r}, not {call.expect!r}"))
            message.close()
        else:
            call.future.set_result(message)
        return True

    def refuse(self, header: Message, reason: str) -> None:
        """Fail the call whose reply was dropped for `reason`."""
        call = self._pending.get(header.reply_serial)
        if call and not call.future.done() and _may_answer(header, call.destination):
            del self._pending[header.reply_serial]
            call.future.set_exception(TooLarge(f"reply refused: {reason}"))

    def fail(self, serial: int, error: WireError) -> None:
        """Fail one call."""
        call = self._pending.pop(serial, None)
        if call and not call.future.done():
            call.future.set_exception(error)

    def fail_all(self, error: WireError) -> None:
        """Fail every call, since the connection is gone."""
        for serial in list(self._pending):
            self.fail(serial, error)


def _may_answer(message: Message, destination: str | None) -> bool:
    """Tell whether the sender of a reply is the peer that was asked.

    A broker passes a reply on only if it belongs to a call; this is for buses that are not to be believed, and for
    guessed serials.
    """
    sender = message.sender
    if destination is None or (sender == destination and (is_unique_name(sender) or sender == BUS_NAME)):
        return True
    if sender == BUS_NAME:
        # The bus answers in the place of a peer that is not there or may not be called, only ever with an error. The
        # name may be another's: dbus-daemon passes on systemd's reason, org.freedesktop.systemd1.UnitMasked for one.
        return message.kind is MessageKind.ERROR
    if is_unique_name(destination) or destination == BUS_NAME:
        return False
    # A well-known name: the reply comes from its owner's unique name, which may change between call and reply.
    return sender is not None and is_unique_name(sender)


def _error_text(message: Message) -> str:
    if not message.signature.startswith("s"):
        return ""
    try:
        return str(message.body[0])[:_MAX_TEXT_CHARS]
    except BadMessage:
        return ""


class CallSlots:
    """First come, first served access to the calls that may be out at once, in all and to one destination."""

    def __init__(self, total: int, per_destination: int) -> None:
        """Allow `total` calls at once and `per_destination` of them to one name."""
        self._free = total
        self._per_destination = per_destination
        self._used: Counter[str | None] = Counter()
        self._waiting: deque[tuple[str | None, asyncio.Future[None]]] = deque()

    async def acquire(self, destination: str | None) -> None:
        """Wait for a slot. Whoever gets one must release it."""
        # Nobody waits who could go (release sees to that), so whoever finds room overtakes no one.
        if self._has_room(destination):
            self._take(destination)
            return
        entry = (destination, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            await entry[1]
        except asyncio.CancelledError:
            # The slot may have been granted in the same loop turn in which we are cancelled: pass it on.
            if entry[1].done() and not entry[1].cancelled():
                self.release(destination)
            with contextlib.suppress(ValueError):
                self._waiting.remove(entry)
            raise

    def release(self, destination: str | None) -> None:
        """Give a slot back and hand it to the first who may have it."""
        self._free += 1
        self._used[destination] -= 1
        if not self._used[destination]:
            del self._used[destination]
        for entry in list(self._waiting):
            if not self._free:
                break
            waiting_for, granted = entry
            if granted.done():
                self._waiting.remove(entry)
            elif self._has_room(waiting_for):
                self._waiting.remove(entry)
                self._take(waiting_for)
                granted.set_result(None)

    def _has_room(self, destination: str | None) -> bool:
        return self._free > 0 and self._used.get(destination, 0) < self._per_destination

    def _take(self, destination: str | None) -> None:
        self._free -= 1
        self._used[destination] += 1
