"""Calls to a systemd that may be re-executing itself, as each of its upgrades does: they are made again.

For a moment its name has no owner, and a call that it had not answered is answered by the bus (systemctl(1),
daemon-reexec). All that isod asks of it may be asked twice: equal jobs are merged, and a unit that exists says so.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from isod.host.bus_calls import BusCalls
from isod.host.unitpath import SYSTEMD
from isod_wire import Match, MatchRule, Message, RemoteError
from isod_wire.match import Handler

Reply = Coroutine[Any, Any, Message]

_PATIENCE_SEC = 5.0
_PAUSE_SEC = 0.05
_ERROR = "org.freedesktop.DBus.Error."
# In the place of one that is not there, from dbus-daemon(1) and dbus-broker(1); the last two where it would be started.
_AWAY = frozenset(
    _ERROR + name
    for name in (
        *("NoReply", "Disconnected", "NameHasNoOwner", "ServiceUnknown"),
        *("Spawn.ExecFailed", "Spawn.ChildExited"),
    )
)


class PatientCalls:
    """Adapter of BusCalls over another one."""

    def __init__(self, calls: BusCalls, *, is_patient: bool = True) -> None:
        """Take what makes the calls; `is_patient` may be set later, when it is known that a systemd is there."""
        self._calls = calls
        self.is_patient = is_patient

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
        """Call as BusCalls.call does; awaited, it waits up to 5 s for a systemd that is away."""

        def once() -> Coroutine[Any, Any, Message]:
            return self._calls.call(
                destination, path, interface, member, signature, body, fds=fds, timeout_sec=timeout_sec, expect=expect
            )

        # Made here, not when it is awaited: a call that can't be made is told at once.
        first = once()
        return self._repeated(first, once) if destination == SYSTEMD and self.is_patient else first

    @staticmethod
    async def _repeated(call: Reply, once: Callable[[], Reply]) -> Message:
        give_up = time.monotonic() + _PATIENCE_SEC
        while True:
            try:
                return await call
            except RemoteError as error:
                if error.name not in _AWAY or time.monotonic() > give_up:
                    raise
            await asyncio.sleep(_PAUSE_SEC)
            call = once()

    async def add_match(self, rule: MatchRule, handler: Handler) -> Match:
        """Follow signals as BusCalls.add_match does."""
        return await self._calls.add_match(rule, handler)
