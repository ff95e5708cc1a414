"""Whether policy lets anybody have apps as an account of a container, and how sure that is.

What policy names itself needs no look at the host's accounts. What its groups say does, and a directory service that
fails looks like one that knows of nobody (the pwd and grp modules have one error for both).
"""

import grp
import pwd
from enum import Enum

from isod.authorise import sees
from isod.core.host_users import caller_of
from isod.policy import ContainerPolicy
from isod.ports import Caller

# Between two answers, and then LATER_SEC: the fourth comes after half a minute, the eighth after four minutes.
WAITS_SEC = (0.0, 2.0, 5.0, 15.0, 30.0)
LATER_SEC = 60.0


class Admission(Enum):
    """An answer; the number says how many times in a row it must be given before anybody acts on it."""

    YES = 0
    NO = 1
    NOT_A_MEMBER = 4
    UNKNOWN = 8  # the host does not know the account, or a group of the policy's: perhaps just now
    UNREADABLE = 1 << 62  # not even root is found, or isod has no descriptors or threads: never acted on


def admission(policy: ContainerPolicy, account: str) -> Admission:
    """Tell whether anybody may have apps as this account; NSS may block.

    The host's root may as root; whoever policy lets be root may as anybody.
    """
    anybody = bool(policy.users or policy.groups or policy.ask)
    if account == "root" or (anybody and (account == policy.user or policy.grants.level("root") != "none")):
        return Admission.YES
    if policy.user:
        return Admission.NO  # all are that account
    if account in policy.users or account in policy.ask:
        return Admission.YES
    return _by_groups(policy, account) if policy.groups else Admission.NO


def owner_admission(old: ContainerPolicy | None, new: ContainerPolicy, owner: Caller) -> Admission:
    """Tell whether a new policy, which `old` was before, admits the owner of an app; NSS may block.

    Policy that names them, or has no groups, says it by itself. A group that had them under the old policy and is not
    in the new one is known to have been read. All else may be a directory service that fails.
    """
    if sees(new, owner):
        return Admission.YES
    if not (new.users or new.groups or new.ask):
        return Admission.NO
    if not owner.user:
        return Admission.UNKNOWN
    answer = _by_groups(new, owner.user) if new.groups else Admission.NO
    if answer is Admission.NOT_A_MEMBER and old is not None and owner.groups.intersection(old.groups):
        return Admission.NO
    return answer


def _by_groups(policy: ContainerPolicy, account: str) -> Admission:
    try:
        caller = caller_of(pwd.getpwnam(account).pw_uid)
        if caller.user == account and caller.groups.intersection(policy.groups):
            return Admission.YES
        for group in policy.groups:
            grp.getgrnam(group)
    except (KeyError, OSError):
        return Admission.UNKNOWN
    return Admission.NOT_A_MEMBER if caller.user == account else Admission.UNKNOWN
