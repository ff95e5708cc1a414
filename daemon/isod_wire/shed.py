"""Refuse calls of chosen senders by their bytes alone, since most of what a flood costs is the making of messages."""

import struct
import time
from collections.abc import Callable

from isod_wire.header import FixedHeader
from isod_wire.message import MessageKind

# As brokers write it: field code 7, of type "s". Bytes like these elsewhere in a header can only be the caller's own
# doing, and make the call one that is looked at, or is refused as those of another.
_SENDER_FIELD = b"\x07\x01s\x00"
_LENGTH_BYTES = 4
_LENGTH = {True: struct.Struct("<I"), False: struct.Struct(">I")}
_CALL = int(MessageKind.METHOD_CALL)


class ShedGroup:
    """Senders whose calls are refused for one reason, until one moment."""

    __slots__ = ("error_name", "on_refused", "senders", "text", "until_sec")

    def __init__(self) -> None:
        """Refuse nothing yet."""
        self.error_name = ""
        self.text = ""
        self.until_sec = 0.0  # by time.monotonic
        self.on_refused: Callable[[], None] = lambda: None  # called for each call that is refused
        self.senders = 0  # as many as belong to it


class LoadShed:
    """The senders of one connection whose calls may be refused unread."""

    def __init__(self, refuse: Callable[[str, int, str, str], None]) -> None:
        """Take what answers a call: its sender and serial, an error's name and text."""
        self._refuse = refuse
        self._senders: dict[bytes, tuple[str, ShedGroup]] = {}

    def add(self, sender: str, group: ShedGroup) -> None:
        """Count a sender among a group's, and no more among those of another."""
        self.remove(sender)
        self._senders[sender.encode()] = sender, group
        group.senders += 1

    def remove(self, sender: str) -> ShedGroup | None:
        """Look at each call of a sender again; gives the group that it belonged to."""
        known = self._senders.pop(sender.encode(), None)
        if known is None:
            return None
        known[1].senders -= 1
        return known[1]

    def take(self, data: bytearray, start: int, fixed: FixedHeader) -> bool:
        """Refuse the message that begins at `start` if it is to be; False if it must be read."""
        if not self._senders or fixed.kind != _CALL:
            return False
        end = start + fixed.header_bytes
        at = data.rfind(_SENDER_FIELD, start, end) + len(_SENDER_FIELD)
        if at < start + len(_SENDER_FIELD) or at + _LENGTH_BYTES > end:
            return False
        (length,) = _LENGTH[fixed.little].unpack_from(data, at)
        at += _LENGTH_BYTES
        known = self._senders.get(bytes(data[at : min(at + length, end)]))
        if known is None or time.monotonic() >= known[1].until_sec:
            return False
        sender, group = known
        group.on_refused()
        if not fixed.flags & 1:
            self._refuse(sender, fixed.serial, group.error_name, group.text)
        return True
