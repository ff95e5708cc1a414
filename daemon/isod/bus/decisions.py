"""The gate's audit records: one for each call that had an effect; of the refusals of a uid about one a second."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from isod.paced_audit import PacedAudit
from isod.ports import AuditSink, Caller
from isod_contract.records import DECISION


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


class Decisions:
    """Writes DECISION records."""

    def __init__(self, *, audit: AuditSink, paced: PacedAudit, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the sink, that of records which anybody may cause, and a monotonic clock in seconds."""
        self._audit = audit
        self._paced = paced
        self._clock = clock

    def allowed(self, facts: Facts) -> None:
        """Record that a call was allowed and done."""
        self._audit.record(DECISION, **self._fields(facts, "allowed", None))

    def failed(self, facts: Facts, error: str) -> None:
        """Record that a call was allowed and then failed."""
        self._audit.record(DECISION, **self._fields(facts, "failed", error))

    def refused(self, facts: Facts, error: str) -> None:
        """Record a refusal at once, or if one of that uid was told just now, together with others a little later."""
        self._paced.record(DECISION, **self._fields(facts, "refused", error))

    def refused_again(self, uid: int) -> bool:
        """Count a refusal with those that are told soon, all in one record; False if it must be told by refused()."""
        return self._paced.again(DECISION, uid)

    def close(self) -> None:
        """Write what is held back."""
        self._paced.close()

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
