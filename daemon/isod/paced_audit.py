"""Audit records that anybody may cause, admitted or not: about one a second of each user, whatever they call.

What a user's subordinate uids cause (subuid(5)) is one user's.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from isod.ports import AuditSink
from isod_contract.records import Record

INTERVAL_SEC = 1.0
_USERS_MAX = 4096


@dataclass(slots=True)
class _Withheld:
    """The latest record of one kind that is not told yet, and how many there were."""

    fields: dict[str, object]
    count: int = 1


@dataclass(slots=True)
class _User:
    told_sec: float
    withheld: dict[Record, _Withheld] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


class PacedAudit:
    """An AuditSink for records of refusals and registrations: what comes too soon is told later, all in one.

    Else who has no right at all could push the records of others out of the journal. Of each kind the latest is told,
    with the number of those before it in `suppressed`.
    """

    def __init__(
        self,
        audit: AuditSink,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval_sec: float = INTERVAL_SEC,
        accountable: Callable[[int], int] = lambda uid: uid,
    ) -> None:
        """Take the sink, a monotonic clock in seconds, how often a user's records are told, and who shares that."""
        self._accountable = accountable
        self._audit = audit
        self._clock = clock
        self._interval_sec = interval_sec
        self._users: dict[object, _User] = {}

    def record(self, kind: Record, **fields: object) -> None:
        """Write a record, whose field `uid` says whose it is, at once or a little later."""
        told_uid = fields.get("uid")
        uid = self._accountable(told_uid) if isinstance(told_uid, int) else told_uid
        now_sec = self._clock()
        user = self._users.get(uid)
        if user is None or (not user.withheld and now_sec - user.told_sec >= self._interval_sec):
            self._forget_old(now_sec)
            self._users[uid] = _User(now_sec)
            self._audit.record(kind, **fields)
            return
        earlier = user.withheld.get(kind)
        user.withheld[kind] = _Withheld(fields, earlier.count + 1 if earlier else 1)
        self._tell_later(user)

    def again(self, kind: Record, uid: int) -> bool:
        """Count one with those of its kind that are told soon; False if there are none, and record() must have it."""
        user = self._users.get(self._accountable(uid))
        if user is None or kind not in user.withheld:
            return False
        user.withheld[kind].count += 1
        return True

    def close(self) -> None:
        """Write what is held back."""
        for user in self._users.values():
            if user.timer is not None:
                user.timer.cancel()
            while user.withheld:
                self._tell_first(user)

    def _tell_later(self, user: _User) -> None:
        if user.timer is None:
            left_sec = max(0.0, user.told_sec + self._interval_sec - self._clock())
            user.timer = asyncio.get_running_loop().call_later(left_sec, self._on_time, user)

    def _on_time(self, user: _User) -> None:
        user.timer = None
        self._tell_first(user)
        if user.withheld:
            self._tell_later(user)

    def _tell_first(self, user: _User) -> None:
        kind = next(iter(user.withheld))
        withheld = user.withheld.pop(kind)
        self._audit.record(kind, **withheld.fields, suppressed=withheld.count - 1 or None)
        user.told_sec = self._clock()

    def _forget_old(self, now_sec: float) -> None:
        if len(self._users) < _USERS_MAX:
            return
        for uid, user in list(self._users.items()):
            if not user.withheld and now_sec - user.told_sec >= self._interval_sec:
                del self._users[uid]
