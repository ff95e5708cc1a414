"""The decision, a pure function: may this caller do this to this container, and by what rule."""

from dataclasses import dataclass
from enum import StrEnum

from isod.policy import ContainerPolicy
from isod.ports import Caller
from isod_contract.actions import MANAGE, ROOT, RUN, Action


class Verb(StrEnum):
    """What can be decided about a container."""

    SEE = "see"
    RUN = "run"
    START = "start"
    STOP = "stop"
    RESTART = "restart"


class Outcome(StrEnum):
    """How it was decided."""

    ALLOWED = "allowed"
    ASK = "ask"  # polkit's answer to `action` decides
    REFUSED = "refused"  # with a reason that the caller may read
    INVISIBLE = "invisible"  # for this caller the container does not exist


@dataclass(frozen=True, slots=True)
class Decision:
    """An outcome, the rule that made it (short and stable, for the audit) and the polkit action of ASK."""

    outcome: Outcome
    rule: str
    action: Action | None = None
    reason: str = ""


def decide(
    policy: ContainerPolicy,
    caller: Caller,
    verb: Verb,
    container: str,
    *,
    account: str | None = None,
    others_running: bool = False,
    force: bool = False,
) -> Decision:
    """Decide by policy alone.

    `account` is the account inside that an app is asked for, None for the caller's own (see account_for); an account
    that is uid 0 inside counts as "root" and the caller of this function must pass it so. `others_running` says that
    an app of another user runs there, `force` that the caller wants to stop it all the same.
    """
    if caller.is_root:
        return Decision(Outcome.ALLOWED, "uid 0")
    rule = _rule(policy, caller)
    if not rule:
        return Decision(Outcome.INVISIBLE, "none", reason=f"no policy admits uid {caller.uid} to {container}")
    if verb is Verb.SEE:
        return Decision(Outcome.ALLOWED, rule)
    if verb is Verb.RUN and (account or account_for(policy, caller)) != _own_account(policy, caller):
        return _decide_other_account(policy, rule)
    if verb in (Verb.STOP, Verb.RESTART) and others_running:
        if force:
            return Decision(Outcome.ASK, "busy", MANAGE)
        return Decision(Outcome.REFUSED, "busy", reason="an app of another user runs in it; --force asks to end it")
    if rule == "ask":
        return Decision(Outcome.ASK, "ask", RUN)
    return Decision(Outcome.ALLOWED, rule)


def _decide_other_account(policy: ContainerPolicy, rule: str) -> Decision:
    """Decide on an account that is not the caller's: whoever may be root may be anybody, nobody else may."""
    level = policy.grants.level("root")
    if level == "none":
        refused_by = "never.root" if "root" in policy.never else "root"
        return Decision(Outcome.REFUSED, refused_by, reason="policy grants no other account, see [grants] root")
    if level == "ask":
        # An administrator's word outweighs the caller's own password, so one question is enough.
        return Decision(Outcome.ASK, "root", ROOT)
    return Decision(Outcome.ASK, "ask", RUN) if rule == "ask" else Decision(Outcome.ALLOWED, "root")


def sees(policy: ContainerPolicy, caller: Caller) -> bool:
    """Tell whether the container exists for the caller."""
    return caller.is_root or bool(_rule(policy, caller))


def account_for(policy: ContainerPolicy, caller: Caller) -> str:
    """Give the account inside that the caller's apps run as unless he asks for another; "" if he has no name."""
    return "root" if caller.is_root else policy.user or caller.user


def _own_account(policy: ContainerPolicy, caller: Caller) -> str | None:
    """Give the account that needs no grant; never root, whatever a second account of the host is called."""
    account = account_for(policy, caller)
    return account if account not in ("", "root") else None


def _rule(policy: ContainerPolicy, caller: Caller) -> str:
    """Name what admits the caller: the rule without a question before the one with; "" for nothing."""
    if caller.user and caller.user in policy.users:
        return "users"
    group = min(caller.groups.intersection(policy.groups), default="")
    if group:
        return f"groups:{group}"
    return "ask" if caller.user and caller.user in policy.ask else ""
