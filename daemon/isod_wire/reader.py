"""Turn the bytes and descriptors of a socket into messages, with the size cap applied before anything is buffered."""

import array
import errno
import socket
from dataclasses import dataclass

from isod_wire.caps import Caps
from isod_wire.errors import BadMessage
from isod_wire.fds import FdSet
from isod_wire.header import FIXED_HEADER_BYTES, FixedHeader, read_fields, read_fixed_header
from isod_wire.message import KNOWN_KINDS, EncodedBody, Message

_CHUNK_BYTES = 64 * 1024
_MAX_HEADER_BYTES = 16 * 1024  # the nine known fields hold at most six names of 255 bytes, a path and a signature
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


class FrameReader:
    """Reads one connected, non-blocking Unix socket."""

    def __init__(self, sock: socket.socket, caps: Caps) -> None:
        """Read from `sock` within `caps`; the socket stays the caller's."""
        self._sock = sock
        self._caps = caps
        self._buffer = bytearray()
        self._offset = 0  # where in the buffer the next message begins
        self._skip_bytes = 0  # how much of a refused message is still to come
        # One entry per recvmsg that brought descriptors; None: the kernel had to drop some (MSG_CTRUNC).
        self._waiting_fds: list[FdSet | None] = []

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
            # Out of descriptors while accepting one: the bytes are still there, the next turn tries again.
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return False
            raise
        self._keep_fds(control, truncated=bool(flags & socket.MSG_CTRUNC))
        if not data:
            raise EndOfStream
        skipped = min(self._skip_bytes, len(data))
        self._skip_bytes -= skipped
        self._buffer += memoryview(data)[skipped:] if skipped else data
        return True

    def next_message(self) -> Message | Refused | None:
        """Take the next whole message out of the buffer, or None until there is one.

        Raises BadMessage if the stream is out of step, which nothing can mend.
        """
        available = len(self._buffer) - self._offset
        if available < FIXED_HEADER_BYTES:
            self._compact(available)
            return None
        fixed = read_fixed_header(self._buffer, self._offset)
        if fixed.total_bytes > self._caps.max_message_bytes or fixed.header_bytes > _MAX_HEADER_BYTES:
            return self._refuse_oversize(fixed, available)
        if available < fixed.total_bytes:
            self._compact(available)
            return None
        data = self._take(fixed.total_bytes)
        return self._parse(data, fixed)

    def close(self) -> None:
        """Close the descriptors that no message claimed."""
        for group in self._waiting_fds:
            if group is not None:
                group.close()
        self._waiting_fds.clear()

    def _keep_fds(self, control: list[tuple[int, int, bytes]], *, truncated: bool) -> None:
        fds = array.array("i")
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % _INT_BYTES])
        group = FdSet(fds)
        if truncated:
            # Which of the descriptors are missing can't be known, so the message they belong to gets none.
            group.close()
            self._waiting_fds.append(None)
        elif fds:
            self._waiting_fds.append(group)
        if sum(len(waiting) if waiting else 1 for waiting in self._waiting_fds) > _MAX_WAITING_FDS:
            raise BadMessage("file descriptors without messages")

    def _claim_fds(self, count: int) -> FdSet | None:
        """Return the next `count` descriptors, or None (those read so far closed) if the peer sent another number.

        The kernel never merges the descriptors of two sendmsg calls into one recvmsg, and they come with the first
        byte of their message; so the oldest groups are those of the oldest message that declares any.
        """
        claimed: list[int] = []
        complete = True
        while len(claimed) < count and complete and self._waiting_fds:
            group = self._waiting_fds.pop(0)
            if group is None:
                complete = False
            else:
                claimed.extend(group.take(index) for index in range(len(group)))
        fds = FdSet(claimed)
        if complete and len(fds) == count:
            return fds
        fds.close()
        return None

    def _parse(self, data: bytes, fixed: FixedHeader) -> Message | Refused:
        try:
            found = read_fields(data, fixed)
        except BadMessage as error:
            return Refused(None, str(error))
        count = found.pop("fd_count", 0)
        truncated = bool(count and self._waiting_fds and self._waiting_fds[0] is None)
        fds = self._claim_fds(count) if count else FdSet()
        message = self._message(fixed, found, data[fixed.header_bytes :], fds)
        if message is None:
            return Refused(None, "unknown message type", violation=False)
        if fds is None:
            return Refused(message, "file descriptors were lost on the way", violation=not truncated)
        if count > self._caps.max_fds:
            message.close()
            return Refused(message, f"more than {self._caps.max_fds} file descriptors")
        return message

    def _message(self, fixed: FixedHeader, found: dict[str, object], body: bytes, fds: FdSet | None) -> Message | None:
        kind = KNOWN_KINDS.get(fixed.kind)
        if kind is None:
            if fds:
                fds.close()
            return None
        encoded = EncodedBody(body, fixed.little, self._caps.max_depth, self._caps.max_values)
        return Message(
            kind,
            fixed.serial,
            encoded=encoded,
            no_reply_expected=bool(fixed.flags & 1),
            allow_interactive=bool(fixed.flags & 4),
            fds=fds,
            **found,  # type: ignore[arg-type] # read_fields checked each type
        )

    def _refuse_oversize(self, fixed: FixedHeader, available: int) -> Refused | None:
        """Skip a message over the cap without keeping its body; wait for its header to know whom to tell."""
        header = None
        if fixed.header_bytes <= _MAX_HEADER_BYTES:
            if available < fixed.header_bytes:
                self._compact(available)
                return None
            start = self._offset
            header = self._header_only(bytes(self._buffer[start : start + fixed.header_bytes]), fixed)
        here = min(available, fixed.total_bytes)
        self._offset += here
        self._skip_bytes = fixed.total_bytes - here
        return Refused(header, f"message over {self._caps.max_message_bytes} bytes")

    def _header_only(self, data: bytes, fixed: FixedHeader) -> Message | None:
        try:
            found = read_fields(data, fixed)
        except BadMessage:
            return None
        fds = self._claim_fds(count) if (count := found.pop("fd_count", 0)) else None
        if fds is not None:
            fds.close()
        return self._message(fixed, found, b"", None)

    def _take(self, count: int) -> bytes:
        start = self._offset
        self._offset = start + count
        return bytes(memoryview(self._buffer)[start : start + count])

    def _compact(self, available: int) -> None:
        """Forget what was consumed, once per read; close descriptors that nothing in the buffer can claim."""
        if self._offset:
            del self._buffer[: self._offset]
            self._offset = 0
        # The first byte of a message comes with its descriptors, so with nothing begun they belong to no message.
        if not available and not self._skip_bytes:
            self.close()
