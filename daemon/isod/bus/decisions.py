"""The gate's audit records: one for each call that had an effect; of the refusals of a uid about one a second."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from isod.ports import AuditSink, Caller
from isod_contract.records import DECISION

REFUSAL_INTERVAL_SEC = 1.0
_USERS_MAX = 4096


@dataclass(slots=True)
class Facts:
    """What is known of one call so far; filled in as the gate checks it."""

    method: str
    started_sec: float
    caller: Caller | None = None
    uid: int | None = None  # the caller's, which may be all that is known
    container: str | None = None
    app: str | None = None
    argv: tuple[str, ...] | None = None
    environment: tuple[str, ...] | None = None  # names only
    claim: Mapping[str, Any] = field(default_factory=dict)
    rule: str = "credentials"
    core_decides: bool = False  # the core writes the record of this call


@dataclass(slots=True)
class _Refusals:
    """What is known of one uid's refusals since the last that was told."""

    told_sec: float
    untold: int = 0
    latest: dict[str, object] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


class Decisions:
    """Writes DECISION records."""

    def __init__(
        self,
        *,
        audit: AuditSink,
        clock: Callable[[], float] = time.monotonic,
        refusal_interval_sec: float = REFUSAL_INTERVAL_SEC,
    ) -> None:
        """Take the sink, a monotonic clock in seconds, and how often the refusals of one uid are told."""
        self._audit = audit
        self._clock = clock
        self._interval_sec = refusal_interval_sec
        self._refusals: dict[int | None, _Refusals] = {}

    def allowed(self, facts: Facts) -> None:
        """Record that a call was allowed and done."""
        self._audit.record(DECISION, **self._fields(facts, "allowed", None))

    def failed(self, facts: Facts, error: str) -> None:
        """Record that a call was allowed and then failed."""
        self._audit.record(DECISION, **self._fields(facts, "failed", error))

    def refused(self, facts: Facts, error: str) -> None:
        """Record a refusal at once, or if one of that uid was told just now, together with others a little later."""
        uid = facts.uid
        fields = self._fields(facts, "refused", error)
        now_sec = self._clock()
        known = self._refusals.get(uid)
        if known is None or now_sec - known.told_sec >= self._interval_sec:
            self._forget_old(now_sec)
            self._refusals[uid] = _Refusals(now_sec)
            self._audit.record(DECISION, **fields)
            return
        known.untold += 1
        known.latest = fields
        if known.timer is None:
            left_sec = known.told_sec + self._interval_sec - now_sec
            known.timer = asyncio.get_running_loop().call_later(left_sec, self._tell, known)

    def refused_again(self, uid: int) -> bool:
        """Count a refusal with those that are told soon, all in one record; False if it must be told by refused()."""
        known = self._refusals.get(uid)
        if known is None or known.timer is None:
            return False
        known.untold += 1
        return True

    def close(self) -> None:
        """Write what is held back."""
        for known in self._refusals.values():
            if known.timer is not None:
                known.timer.cancel()
                self._tell(known)

    def _tell(self, known: _Refusals) -> None:
        self._audit.record(DECISION, **known.latest, suppressed=known.untold - 1 or None)
        known.told_sec, known.untold, known.timer = self._clock(), 0, None

    def _forget_old(self, now_sec: float) -> None:
        if len(self._refusals) < _USERS_MAX:
            return
        old = [uid for uid, known in self._refusals.items() if now_sec - known.told_sec >= self._interval_sec]
        for uid in old:
            if self._refusals[uid].timer is None:
                del self._refusals[uid]

    def _fields(self, facts: Facts, outcome: str, error: str | None) -> dict[str, object]:
        caller = facts.caller
        return {
            "uid": facts.uid,
            "pid": caller.pid if caller else None,
            "caller_unit": caller.unit if caller else None,
            "method": facts.method,
            "container": facts.container,
            "app": facts.app,
            "argv": facts.argv,
            "environment": facts.environment,
            "claimed_pid": facts.claim.get("pid"),
            "claimed_unit": facts.claim.get("unit"),
            "rule": facts.rule,
            "outcome": outcome,
            "error": error,
            "duration_usec": int((self._clock() - facts.started_sec) * 1_000_000),
        }
