"""What a user is refused before it is read: calls over a limit, for as long as it is certain that they are."""

import time
from collections.abc import Callable
from dataclasses import replace

from isod.bus.decisions import Decisions, Facts
from isod_wire import Connection, ShedGroup


class Shedding:
    """Has the transport refuse calls of users who flood isod, each uid's connections together."""

    def __init__(self, connection: Connection, decisions: Decisions, wait_sec: Callable[[int], float]) -> None:
        """Take where calls come from, what records refusals, and for how long all calls of a uid are over a limit."""
        self._connection = connection
        self._decisions = decisions
        self._wait_sec = wait_sec
        self._groups: dict[int, ShedGroup] = {}

    def begin(self, sender: str, uid: int, facts: Facts, error_name: str, text: str) -> None:
        """Refuse what comes next from a user, of whom a call was refused just now."""
        group = self._groups.get(uid)
        if group is None:
            group = self._groups[uid] = ShedGroup()
        self._connection.shed.add(sender, group)
        group.on_refused = lambda: self._record(uid, facts, error_name)
        group.error_name, group.text = error_name, text
        group.until_sec = time.monotonic() + self._wait_sec(uid)

    def end(self, uid: int) -> None:
        """Look at calls of a user again: one of those that were open is not any more."""
        if (group := self._groups.get(uid)) is not None:
            group.until_sec = 0.0

    def forget(self, sender: str) -> None:
        """Forget a connection that has left the bus."""
        group = self._connection.shed.remove(sender)
        if group is not None and not group.senders:
            self._groups = {uid: other for uid, other in self._groups.items() if other is not group}

    def _record(self, uid: int, facts: Facts, error_name: str) -> None:
        if not self._decisions.refused_again(uid):
            self._decisions.refused(replace(facts, started_sec=time.monotonic()), error_name)
