"""Calls over a container's bus: once a service there owes an answer, further calls to it fail at once.

Else each call to a frozen systemd would cost its caller the whole deadline, and the caller's descriptors in a message
would lie in the frozen bus for as long.
"""

import math
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from isod.core.background import Background
from isod_contract.names import PEER
from isod_wire import CallTimeout, Connection, ConnectionLost, Match, MatchRule, Message, RemoteError, WireError
from isod_wire.match import Handler

# A service that answers the question at last is no longer silent, however much later that is.
_QUESTION_SEC = 3600.0


class GuestCalls:
    """The calls of one connection, with a memory of who there is silent."""

    def __init__(self, connection: Connection) -> None:
        """Take the connection."""
        self._connection = connection
        self._silent_since_sec: dict[str | None, float] = {}
        self._answered_sec: dict[str | None, float] = {}
        self._background = Background()

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
        expect: str | None = None,
    ) -> Coroutine[Any, Any, Message]:
        """Call as Connection.call does; awaited, it raises CallTimeout at once while the destination is silent."""
        since_sec = self._silent_since_sec.get(destination)
        if since_sec is not None:
            return _fail(f"no answer for {time.monotonic() - since_sec:.0f} s")
        call = self._connection.call(
            destination, path, interface, member, signature, body, fds=fds, timeout_sec=timeout_sec, expect=expect
        )
        return self._watched(destination, call)

    async def _watched(self, destination: str | None, call: Coroutine[Any, Any, Message]) -> Message:
        began_sec = time.monotonic()
        try:
            reply = await call
        except CallTimeout:
            # Who answers others meanwhile is not silent: the call had to wait for too many of them.
            is_silent = self._answered_sec.get(destination, -math.inf) < began_sec
            if is_silent and destination not in self._silent_since_sec and not self._connection.closed:
                self._silent_since_sec[destination] = began_sec
                self._background.spawn(self._ask(destination))
            raise
        except RemoteError:
            self._answered_sec[destination] = time.monotonic()
            raise
        self._answered_sec[destination] = time.monotonic()
        return reply

    async def _ask(self, destination: str | None) -> None:
        """Ask whether it is there, and wait for the answer: any answer means that others will come too."""
        while True:
            try:
                with await self._connection.call(destination, "/", PEER, "Ping", timeout_sec=_QUESTION_SEC):
                    break
            except CallTimeout:
                continue
            except ConnectionLost:
                return
            except WireError:
                break  # an error is an answer
        del self._silent_since_sec[destination]

    async def add_match(self, rule: MatchRule, handler: Handler) -> Match:
        """Follow signals as Connection.add_match does."""
        return await self._connection.add_match(rule, handler)

    async def wait_closed(self) -> None:
        """Return once the connection is gone."""
        await self._connection.wait_closed()

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._connection.closed

    async def close(self) -> None:
        """Close the connection, and ask no more."""
        await self._background.close()
        await self._connection.close()


async def _fail(text: str) -> Message:
    raise CallTimeout(text)
