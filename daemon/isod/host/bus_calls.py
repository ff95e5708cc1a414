"""What adapters need of a bus, be it the host's or a container's."""

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from isod_wire import Match, MatchRule, Message
from isod_wire.match import Handler


class BusCalls(Protocol):
    """Calls with a reply, and signals; see isod_wire.Connection."""

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
        """Call a method; the message must be closed. Raises ValueError, TooLarge; awaited, WireError."""

    async def add_match(self, rule: MatchRule, handler: Handler) -> Match:
        """Have signals that a rule wants passed on. Raises WireError."""
