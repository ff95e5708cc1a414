"""journald's native protocol over one socket of our own: never blocks, keeps the order, counts what it must drop.

See systemd's JOURNAL_NATIVE_PROTOCOL document. libsystemd's sd_journal_send is not used, since it waits for as long as
journald does not read.
"""

import array
import asyncio
import contextlib
import errno
import fcntl
import json
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

SOCKET_PATH = "/run/systemd/journal/socket"

_QUEUE_RECORDS_MAX = 2048
_QUEUE_BYTES_MAX = 8 * 1024 * 1024
_RETRY_SEC = 0.1
_TOO_LARGE = frozenset({errno.EMSGSIZE, errno.ENOBUFS})
# journald is slow, is being restarted, or is not there yet; or we are short of something for the moment.
_PASSING = frozenset(
    {errno.EAGAIN, errno.ECONNREFUSED, errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR}
)
_SEALS = fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_FIELD_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

# Control characters, what turns text around (Unicode's bidirectional controls), line and paragraph separators, and
# halves of surrogate pairs: none of them may reach a terminal or the framing.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def escaped(text: str) -> str:
    r"""Write every character that could forge or hide something as `\uXXXX`, as JSON does."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def as_json(value: object) -> str:
    """Give a value as JSON on one line, readable but with every unsafe character escaped."""
    return escaped(json.dumps(value, ensure_ascii=False))


def encode(fields: Mapping[str, str]) -> bytes:
    """Give one record on the wire; raises ValueError for a name that journald would not take."""
    parts = []
    for name, value in fields.items():
        if not _FIELD_NAME.fullmatch(name):
            raise ValueError(f"not the name of a journal field: {name!r}")
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            # Only tracebacks get here; the length before the value is what keeps them in one field.
            parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


class _Share(NamedTuple):
    """What waits of one user."""

    records: int = 0
    size_bytes: int = 0


class Journal:
    """A sender of records."""

    def __init__(self, *, path: str = SOCKET_PATH, accountable: Callable[[int], int] = lambda uid: uid) -> None:
        """Take the path of journald's socket, which may appear later, or go and come back, and which uids share."""
        self._path = path
        self._accountable = accountable
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._queue: deque[tuple[bytes, str]] = deque()
        self._queue_bytes = 0
        # Of each user, by uid; "" is isod itself.
        self._queued: dict[str, _Share] = {}
        self._retry: asyncio.TimerHandle | None = None
        self.dropped = 0

    def send(self, fields: Mapping[str, str]) -> None:
        """Send a record, or keep it until journald takes it again; the newest are dropped when that takes too long.

        A user, named by ISOCTL_UID, gets no more of the queue than is left of it for the others (dynamic thresholds;
        Choudhury and Hahne, 1998): one who fills it leaves half, two leave a third.
        """
        data, uid = encode(fields), fields.get("ISOCTL_UID", "")
        owner = str(self._accountable(int(uid))) if uid.isdecimal() else uid
        self._flush()
        if not self._queue and self._send_now(data):
            return
        share = self._queued.get(owner, _Share())
        free_bytes = _QUEUE_BYTES_MAX - self._queue_bytes
        if share.records + 1 > _QUEUE_RECORDS_MAX - len(self._queue) or share.size_bytes + len(data) > free_bytes:
            self.dropped += 1
            return
        self._queue.append((data, owner))
        self._queue_bytes += len(data)
        self._queued[owner] = _Share(share.records + 1, share.size_bytes + len(data))
        self._retry_later()

    def close(self) -> None:
        """Send what can be sent at once, and close the socket."""
        self._flush()
        if self._retry:
            self._retry.cancel()
        self._socket.close()

    def _flush(self) -> None:
        while self._queue and self._send_now(self._queue[0][0]):
            data, owner = self._queue.popleft()
            self._queue_bytes -= len(data)
            share = self._queued.pop(owner)
            if share.records > 1:
                self._queued[owner] = _Share(share.records - 1, share.size_bytes - len(data))

    def _retry_later(self) -> None:
        if self._retry is not None:
            return
        # Without a loop (before it runs, in a tool) the next record tries again.
        with contextlib.suppress(RuntimeError):
            self._retry = asyncio.get_running_loop().call_later(_RETRY_SEC, self._on_retry)

    def _on_retry(self) -> None:
        self._retry = None
        self._flush()
        if self._queue:
            self._retry_later()

    def _send_now(self, data: bytes) -> bool:
        """Tell whether journald took a record."""
        try:
            try:
                self._socket.sendto(data, self._path)
            except OSError as error:
                if error.errno not in _TOO_LARGE:
                    raise
                self._send_as_file(data)
        except OSError as error:
            if error.errno in _PASSING:
                return False
            # Kept, it would hold up every record after it.
            self.dropped += 1
        return True

    def _send_as_file(self, data: bytes) -> None:
        """Send a record that is larger than a datagram may be. Raises OSError."""
        fd = os.memfd_create("isod-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            fcntl.fcntl(fd, *_SEALS)
            # Not socket.send_fds, which ignores the address.
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
            self._socket.sendmsg([b""], [rights], 0, self._path)
        finally:
            os.close(fd)
