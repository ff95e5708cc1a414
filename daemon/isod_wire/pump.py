"""Reading for a connection in turns: a bounded number of messages, then everybody else on the loop."""

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from isod_wire.caps import Caps
from isod_wire.errors import BadMessage
from isod_wire.message import Message
from isod_wire.reader import EndOfStream, FrameReader, Refused, Shed
from isod_wire.shed import LoadShed

_log = logging.getLogger(__name__)

_TURN_SEC = 0.02  # a turn ends early after this long, whatever the handlers did with it


class ReadPump:
    """Calls `on_frame` for each message of a socket, in order, and `on_end(reason)` once when it fails."""

    def __init__(
        self,
        sock: socket.socket,
        caps: Caps,
        shed: LoadShed,
        on_frame: Callable[[Message | Refused], None],
        on_end: Callable[[str], None],
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Read from `sock` once start() is called; the socket stays the caller's. `turn` is entered for each turn."""
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._caps = caps
        self._reader = FrameReader(sock, caps, shed)
        self._on_frame = on_frame
        self._on_end = on_end
        self._turn = turn
        self._watching = False
        self._stopped = False
        self.max_turn_sec = 0.0

    def start(self) -> None:
        """Begin to read."""
        self._watch()

    def stop(self) -> None:
        """Read no more and close the descriptors that no message claimed."""
        self._stopped = True
        self._unwatch()
        self._reader.close()

    def _on_readable(self) -> None:
        try:
            if not self._reader.receive():
                return
        except EndOfStream:
            self._end("the peer closed the connection")
        except OSError as error:
            self._end(f"read failed: {errno.errorcode.get(error.errno or 0, 'unknown error')}")
        except BadMessage as error:
            self._end(str(error))
        else:
            self._take_turn()

    def _take_turn(self) -> None:
        if self._stopped:
            return
        started_sec = time.monotonic()
        try:
            with self._turn():
                more = self._handle_some(started_sec)
        except BadMessage as error:
            self._end(str(error))
            return
        finally:
            self.max_turn_sec = max(self.max_turn_sec, time.monotonic() - started_sec)
        if more is None or self._stopped:
            return
        if more:
            # Read nothing new before the old is handled: the rest waits in the socket, and the sender with it.
            self._unwatch()
            self._loop.call_soon(self._take_turn)
        else:
            self._watch()

    def _handle_some(self, started_sec: float) -> bool | None:
        """Handle one turn's messages; True if there may be more in the buffer, None once a handler stopped us."""
        for _ in range(self._caps.max_messages_per_turn):
            frame = self._reader.next_message()
            if frame is None:
                return False
            if isinstance(frame, Shed):
                continue
            try:
                self._on_frame(frame)
            except Exception:  # noqa: BLE001 - a fault of ours costs this message, not the connection
                _log.exception("wire.frame_failed")
            if self._stopped:
                return None
            if time.monotonic() - started_sec > _TURN_SEC:
                break
        return True

    def _end(self, reason: str) -> None:
        if not self._stopped:
            self.stop()
            self._on_end(reason)

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._loop.add_reader(self._sock, self._on_readable)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._sock)
