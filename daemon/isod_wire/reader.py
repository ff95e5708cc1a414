"""Turn the bytes and descriptors of a socket into messages, with the size cap applied before anything is buffered."""

import array
import errno
import socket
from dataclasses import dataclass
from typing import Any

from isod_wire.caps import Caps
from isod_wire.errors import BadMessage
from isod_wire.fds import FdSet
from isod_wire.header import FIXED_HEADER_BYTES, FixedHeader, read_fields, read_fixed_header
from isod_wire.message import KNOWN_KINDS, EncodedBody, Message
from isod_wire.shed import LoadShed

_CHUNK_BYTES = 64 * 1024
_MAX_ANSWERED_HEADER_BYTES = 16 * 1024  # the header of a message over the cap is read up to this, to answer it
_SCM_MAX_FD = 253  # the kernel's limit for one sendmsg
_MAX_WAITING_FDS = 2 * _SCM_MAX_FD
_INT_BYTES = array.array("i").itemsize


class EndOfStream(Exception):
    """The peer closed the connection."""


@dataclass(slots=True)
class Refused:
    """A message that was dropped.

    `header` (a message without body) says whom to tell, None if it is unreadable; `violation` whether the peer broke
    the protocol or a cap, rather than used what we don't know or hit our own shortage of descriptors.
    """

    header: Message | None
    reason: str
    violation: bool = True


class Shed:
    """Stands for a call that was refused unread."""


SHED = Shed()


class FdQueue:
    """Descriptors that were read and wait for their message.

    A message's descriptors come with its first byte, and the kernel ends a read after the bytes that carried some; so
    they belong to the message that holds the last byte of that read. Going by this, not by the order of messages that
    declare descriptors, no refused or malformed message can shift its own onto the next caller's message.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._groups: list[tuple[int, FdSet | None]] = []

    def add(self, end: int, group: FdSet | None) -> None:
        """Keep what a read that ended at stream position `end` brought; None if the kernel had to drop some.

        Raises BadMessage if more wait than any message may have.
        """
        self._groups.append((end, group))
        if sum(len(waiting) if waiting else 1 for _, waiting in self._groups) > _MAX_WAITING_FDS:
            raise BadMessage("file descriptors without messages")

    def claim(self, start: int, end: int) -> FdSet | None:
        """Return the descriptors of the message at stream positions `start` to `end`; None if some were dropped."""
        claimed: list[int] = []
        complete = True
        while self._groups and self._groups[0][0] <= end:
            at, group = self._groups.pop(0)
            if at <= start:
                self._drop(group)
            elif group is None:
                complete = False
            else:
                claimed.extend(group.take(index) for index in range(len(group)))
        fds = FdSet(claimed)
        if complete:
            return fds
        fds.close()
        return None

    def close(self) -> None:
        """Close all."""
        while self._groups:
            self._drop(self._groups.pop()[1])

    @staticmethod
    def _drop(group: FdSet | None) -> None:
        if group is not None:
            group.close()


class FrameReader:
    """Reads one connected, non-blocking Unix socket."""

    def __init__(self, sock: socket.socket, caps: Caps, shed: LoadShed) -> None:
        """Read from `sock` within `caps`; the socket stays the caller's. `shed` says which calls are not read."""
        self._sock = sock
        self._caps = caps
        self._shed = shed
        self._buffer = bytearray()
        self._offset = 0  # where in the buffer the next message begins
        self._position = 0  # the same as a position in the stream
        self._skip_bytes = 0  # how much of a refused message is still to come
        self._fds = FdQueue()

    def receive(self) -> bool:
        """Read one chunk; returns False if there is none yet.

        Raises EndOfStream, OSError, and BadMessage if the peer sends descriptors without messages.
        """
        try:
            data, control, flags, _ = self._sock.recvmsg(
                _CHUNK_BYTES, socket.CMSG_SPACE(_SCM_MAX_FD * _INT_BYTES), socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            )
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            # Out of descriptors: the bytes are still there, the next turn tries again.
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return False
            raise
        end = self._position + len(self._buffer) - self._offset + len(data)
        self._keep_fds(control, end, truncated=bool(flags & socket.MSG_CTRUNC))
        if not data:
            raise EndOfStream
        skipped = min(self._skip_bytes, len(data))
        self._skip_bytes -= skipped
        self._position += skipped
        self._buffer += memoryview(data)[skipped:] if skipped else data
        return True

    def next_message(self) -> Message | Refused | Shed | None:
        """Take the next whole message out of the buffer, or None until there is one.

        Raises BadMessage if the stream is out of step, which nothing can mend.
        """
        available = len(self._buffer) - self._offset
        if available < FIXED_HEADER_BYTES:
            self._wait_for_more(available)
            return None
        fixed = read_fixed_header(self._buffer, self._offset)
        if fixed.total_bytes > self._caps.max_message_bytes:
            return self._refuse_oversize(fixed, available)
        if available < fixed.total_bytes:
            self._wait_for_more(available)
            return None
        start = self._offset
        if self._shed.take(self._buffer, start, fixed):
            _close(self._consume(fixed.total_bytes, fixed.total_bytes))
            return SHED
        data = bytes(memoryview(self._buffer)[start : start + fixed.total_bytes])
        fds = self._consume(fixed.total_bytes, fixed.total_bytes)
        return self._parse(data, fixed, fds)

    def close(self) -> None:
        """Close the descriptors that no message claimed."""
        self._fds.close()

    def _keep_fds(self, control: list[tuple[int, int, bytes]], end: int, *, truncated: bool) -> None:
        fds = array.array("i")
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % _INT_BYTES])
        group = FdSet(fds)
        if truncated:
            # Which of the descriptors are missing can't be known, so the message they belong to gets none.
            group.close()
            self._fds.add(end, None)
        elif fds:
            self._fds.add(end, group)

    def _consume(self, here: int, total_bytes: int) -> FdSet | None:
        """Step over a message of which `here` bytes are buffered, and return its descriptors."""
        fds = self._fds.claim(self._position, self._position + total_bytes)
        self._offset += here
        self._position += here
        return fds

    def _parse(self, data: bytes, fixed: FixedHeader, fds: FdSet | None) -> Message | Refused:
        """Make a message of its bytes; whatever becomes of it, its descriptors go with it."""
        try:
            found = read_fields(data, fixed)
        except BadMessage as error:
            _close(fds)
            return Refused(None, str(error))
        count = found.pop("fd_count", 0)
        message = self._message(fixed, found, data[fixed.header_bytes :], fds)
        if message is None:
            _close(fds)
            return Refused(None, "unknown message type", violation=False)
        if fds is None:
            return Refused(message, "file descriptors were lost on the way", violation=False)
        if len(fds) == count <= self._caps.max_fds:
            return message
        message.close()
        return Refused(message, f"over {self._caps.max_fds} file descriptors, or another number than declared")

    def _message(self, fixed: FixedHeader, found: dict[str, Any], body: bytes, fds: FdSet | None) -> Message | None:
        kind = KNOWN_KINDS.get(fixed.kind)
        if kind is None:
            return None
        return Message(
            kind,
            fixed.serial,
            encoded=EncodedBody(body, fixed.little, self._caps.max_depth, self._caps.max_values),
            no_reply_expected=bool(fixed.flags & 1),
            allow_interactive=bool(fixed.flags & 4),
            fds=fds,
            **found,
        )

    def _refuse_oversize(self, fixed: FixedHeader, available: int) -> Refused | None:
        """Skip a message over the cap without keeping its body; wait for its header to know whom to tell."""
        header = None
        if fixed.header_bytes <= _MAX_ANSWERED_HEADER_BYTES:
            if available < fixed.header_bytes:
                self._wait_for_more(available)
                return None
            header = self._header_only(bytes(self._buffer[self._offset : self._offset + fixed.header_bytes]), fixed)
        here = min(available, fixed.total_bytes)
        _close(self._consume(here, fixed.total_bytes))
        self._skip_bytes = fixed.total_bytes - here
        return Refused(header, f"message over {self._caps.max_message_bytes} bytes")

    def _header_only(self, data: bytes, fixed: FixedHeader) -> Message | None:
        try:
            found = read_fields(data, fixed)
        except BadMessage:
            return None
        found.pop("fd_count", None)
        return self._message(fixed, found, b"", None)

    def _wait_for_more(self, available: int) -> None:
        """Forget what was consumed, once per read; close descriptors that nothing in the buffer can claim."""
        if self._offset:
            del self._buffer[: self._offset]
            self._offset = 0
        if not available and not self._skip_bytes:
            self._fds.close()


def _close(fds: FdSet | None) -> None:
    if fds is not None:
        fds.close()
