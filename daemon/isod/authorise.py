"""The decision, a pure function: may this caller do this to this container, and by what rule."""

from dataclasses import dataclass
from enum import StrEnum

from isod.policy import ContainerPolicy
from isod.ports import Answer, Caller
from isod.resources import kinds
from isod_contract.actions import GRANT, MANAGE, ROOT, RUN, Action
from isod_contract.errors import IsodError, NoAuthentication, NotPermitted


class Verb(StrEnum):
    """What can be decided about a container."""

    SEE = "see"
    RUN = "run"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    GRANT = "grant"
    REVOKE = "revoke"


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
    own: bool = False,
) -> Decision:
    """Decide by policy alone.

    `account` is the account inside that an app is asked for, None for the caller's own (see account_for); an account
    that is uid 0 inside counts as "root" and the caller of this function must pass it so. `others_running` says that
    an app of another user runs there, `force` that the caller wants to stop it all the same, `own` that what is
    to be revoked is the caller's own grant.
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
    if verb is Verb.REVOKE and own:
        return Decision(Outcome.ALLOWED, "own")
    if verb in (Verb.GRANT, Verb.REVOKE):
        return Decision(Outcome.ASK, "grant", GRANT)
    if rule == "ask":
        return Decision(Outcome.ASK, "ask", RUN)
    return Decision(Outcome.ALLOWED, rule)


_NO_OTHER_ACCOUNT = (
    "policy grants no other account ([grants] root in the container's file does); the host's root is root inside, by "
    "`isoctl run NAME ...`"
)


def _decide_other_account(policy: ContainerPolicy, rule: str) -> Decision:
    """Decide on an account that is not the caller's: whoever may be root may be anybody, nobody else may."""
    level = policy.grants.level("root")
    if level == "none":
        refused_by = "never.root" if "root" in policy.never else "root"
        return Decision(Outcome.REFUSED, refused_by, reason=_NO_OTHER_ACCOUNT)
    if level == "ask":
        # An administrator's word outweighs the caller's own password, so one question is enough.
        return Decision(Outcome.ASK, "root", ROOT)
    return Decision(Outcome.ASK, "ask", RUN) if rule == "ask" else Decision(Outcome.ALLOWED, "root")


def denial(answer: Answer, action: Action, *, interactive: bool) -> IsodError:
    """Give the error of a question that was not answered with yes."""
    if answer is Answer.NO_POLKIT:
        return NoAuthentication(action=action.id, reason="polkit does not answer; see `systemctl status polkit`")
    if answer is Answer.NEEDS_QUESTION:
        reason = "no polkit agent runs in your session; desktops start one, as do lxpolkit and polkit-gnome"
        if not interactive:
            reason = "the call does not allow interactive authorisation"
        return NoAuthentication(action=action.id, reason=reason)
    reasons = {
        Answer.DISMISSED: f"the password prompt for {action.id} was dismissed",
        Answer.UNANSWERED: f"the password prompt for {action.id} was not answered in time",
        Answer.CALLER_GONE: f"the caller left before the password prompt for {action.id} was answered",
    }
    refused = f"polkit refused {action.id}: a rule, a wrong password, or your session is not active at this computer"
    return NotPermitted(reason=reasons.get(answer, refused))


def sees(policy: ContainerPolicy, caller: Caller) -> bool:
    """Tell whether the container exists for the caller."""
    return caller.is_root or bool(_rule(policy, caller))


def is_withdrawn(old: ContainerPolicy | None, new: ContainerPolicy, owner: Caller, account: str) -> bool:
    """Tell whether a new policy takes from an app's owner what the app lives by: their place, or another account."""
    if not sees(new, owner):
        return True
    if old is None or account == _own_account(new, owner):
        return False
    levels = kinds()["root"].levels
    return levels.index(new.grants.level("root")) < levels.index(old.grants.level("root"))


def account_for(policy: ContainerPolicy, caller: Caller) -> str:
    """Give the account inside that the caller's apps run as unless they ask for another; "" without a name."""
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
