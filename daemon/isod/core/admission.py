"""Whether policy lets anybody have apps as an account of a container, and how sure that is.

What policy names itself needs no look at the host's accounts. What its groups say does, and a directory service that
fails looks like one that knows of nobody (the pwd and grp modules have one error for both).
"""

import grp
import pwd
from enum import Enum

from isod.core.host_users import caller_of
from isod.policy import ContainerPolicy


class Admission(Enum):
    """An answer; the number says how many times in a row it must be given before anybody acts on it."""

    YES = 0
    NO = 1
    NOT_A_MEMBER = 4
    UNKNOWN = 8  # the host does not know the account, or a group of the policy's: perhaps just now


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
