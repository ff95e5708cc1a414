"""The gate's audit records: one for each call that had an effect, and for each refusal, as long as they are few."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from isod.ports import AuditSink, Caller
from isod_contract.records import DECISION

_REFUSAL_INTERVAL_SEC = 1.0
_USERS_MAX = 4096


@dataclass(slots=True)
class Facts:
    """What is known of one call so far; filled in as the gate checks it."""

    method: str
    started_sec: float
    caller: Caller | None = None
    container: str | None = None
    app: str | None = None
    argv: tuple[str, ...] | None = None
    environment: tuple[str, ...] | None = None  # names only
    claim: Mapping[str, Any] = field(default_factory=dict)
    rule: str = "credentials"
    core_decides: bool = False  # the core writes the record of this call


@dataclass(slots=True)
class _Untold:
    told_sec: float
    untold: int = 0


class Decisions:
    """Writes DECISION records."""

    def __init__(self, *, audit: AuditSink, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the sink and a monotonic clock in seconds."""
        self._audit = audit
        self._clock = clock
        self._refusals: dict[int | None, _Untold] = {}

    def allowed(self, facts: Facts) -> None:
        """Record that a call was allowed and done."""
        self._record(facts, "allowed", None, 0)

    def failed(self, facts: Facts, error: str) -> None:
        """Record that a call was allowed and then failed."""
        self._record(facts, "failed", error, 0)

    def refused(self, facts: Facts, error: str) -> None:
        """Record a refusal: the first within a second of each uid, and how many came before it untold."""
        uid = facts.caller.uid if facts.caller else None
        now_sec = self._clock()
        last = self._refusals.get(uid)
        if last is not None and now_sec - last.told_sec < _REFUSAL_INTERVAL_SEC:
            last.untold += 1
            return
        if last is None and len(self._refusals) >= _USERS_MAX:
            self._refusals.clear()
        self._refusals[uid] = _Untold(now_sec)
        self._record(facts, "refused", error, last.untold if last else 0)

    def _record(self, facts: Facts, outcome: str, error: str | None, untold: int) -> None:
        caller = facts.caller
        self._audit.record(
            DECISION,
            uid=caller.uid if caller else None,
            pid=caller.pid if caller else None,
            caller_unit=caller.unit if caller else None,
            method=facts.method,
            container=facts.container,
            app=facts.app,
            argv=facts.argv,
            environment=facts.environment,
            claimed_pid=facts.claim.get("pid"),
            claimed_unit=facts.claim.get("unit"),
            rule=facts.rule,
            outcome=outcome,
            error=error,
            suppressed=untold or None,
            duration_usec=int((self._clock() - facts.started_sec) * 1_000_000),
        )
