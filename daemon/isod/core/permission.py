"""Whether a caller may do what they want with a container: policy, then polkit, then the record of what was decided."""

import asyncio
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from isod.authorise import Decision, Outcome, Verb, decide, denial
from isod.core.container import Container
from isod.policy import ContainerPolicy
from isod.ports import Answer, AuditSink, Authority, Caller
from isod_contract.actions import Action
from isod_contract.errors import Busy, IsodError, LimitExceeded, NoSuchContainer, NotPermitted
from isod_contract.records import DECISION

# As the gate names what it records of the same calls.
_METHODS = {
    Verb.RUN: "Manager.Run",
    Verb.START: "Container.Start",
    Verb.STOP: "Container.Stop",
    Verb.RESTART: "Container.Restart",
    Verb.GRANT: "Container.Grant",
    Verb.REVOKE: "Container.Revoke",
}
_NOTHING: Mapping[str, object] = MappingProxyType({})


class Permission:
    """Decides, asks, and records."""

    def __init__(
        self,
        *,
        policy_of: Callable[[Container], ContainerPolicy],
        others_running: Callable[[Container, Caller], bool],
        authority: Authority,
        audit: AuditSink,
    ) -> None:
        """Take the policy in force (it may change), who else runs apps, whom to ask, where to record."""
        self._policy_of = policy_of
        self._others_running = others_running
        self._authority = authority
        self._audit = audit

    async def require(
        self,
        container: Container,
        caller: Caller,
        verb: Verb,
        *,
        account: str | None = None,
        force: bool = False,
        own: bool = False,
        wrong: IsodError | None = None,
        told: Mapping[str, object] = _NOTHING,
    ) -> str:
        """Give the rule that allows it, and write the one DECISION record, with `told` in it as it is.

        `wrong` is what the request itself is refused for, whoever makes it; nobody is asked then.
        Raises NoSuchContainer, NotPermitted, NoAuthentication, Busy, LimitExceeded.
        """
        began_sec = time.monotonic()

        def record(decision: Decision, error: IsodError | None) -> None:
            self._audit.record(
                DECISION,
                uid=caller.uid,
                pid=caller.pid,
                caller_unit=caller.unit,
                method=_METHODS[verb],
                container=container.name,
                rule=decision.rule,
                outcome="refused" if error else "allowed",
                error=error.name if error else None,
                duration_usec=int((time.monotonic() - began_sec) * 1_000_000),
                **told,
            )

        decision = self._decide(container, caller, verb, account, force=force, own=own)
        error = _refusal(decision, container) or wrong
        if decision.outcome is Outcome.ASK and error is None:
            try:
                error = await self._ask(container, caller, verb, decision.action)
            except asyncio.CancelledError:
                # What it was asked for is wanted no more; that ends it, as a no does.
                record(decision, NotPermitted(reason="ended during the question"))
                raise
            # The question may have been open for minutes: what it was about must still be so.
            now = self._decide(container, caller, verb, account, force=force, own=own)
            if error is None and now.outcome is not Outcome.ALLOWED and now != decision:
                decision = now
                error = _refusal(now, container) or NotPermitted(reason="the policy changed meanwhile; try again")
        record(decision, error)
        if error:
            raise error
        return decision.rule

    def _decide(
        self, container: Container, caller: Caller, verb: Verb, account: str | None, *, force: bool, own: bool
    ) -> Decision:
        return decide(
            self._policy_of(container),
            caller,
            verb,
            container.name,
            account=account,
            others_running=self._others_running(container, caller),
            force=force,
            own=own,
        )

    async def _ask(self, container: Container, caller: Caller, verb: Verb, action: Action | None) -> IsodError | None:
        """Put a question to polkit; gives what was wrong with the answer."""
        if action is None:
            return NotPermitted(reason="policy has a question but does not say which")
        details = {"container": container.name, "uid": str(caller.uid), "verb": str(verb)}
        try:
            answer = await self._authority.check(caller, action, details)
        except LimitExceeded as error:
            return error
        return None if answer is Answer.YES else denial(answer, action, interactive=caller.interactive)


def _refusal(decision: Decision, container: Container) -> IsodError | None:
    """Give the error of a decision that allows nothing, whatever polkit would say."""
    match decision.outcome:
        case Outcome.ALLOWED | Outcome.ASK:
            return None
        case Outcome.INVISIBLE:
            return NoSuchContainer(container=container.name)
        case Outcome.REFUSED if decision.rule == "busy":
            return Busy(container=container.name, reason=decision.reason)
    return NotPermitted(reason=decision.reason)
