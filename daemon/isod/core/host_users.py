"""Whose uid it is on the host: without a user namespace an account inside is the host's account of the same number."""

import contextlib
import grp
import os
import posixpath
import pwd
from collections.abc import Callable

from isod.policy import ContainerPolicy
from isod.ports import Caller

_REGULAR_UID_MIN = 1000  # login.defs(5)
_NOBODY_UID = 65534
_NO_LOGIN = frozenset({"nologin", "false", "sync", "halt", "shutdown"})


def login_user(uid: int) -> str:
    """Give the name of the host's login user with a uid, "" for none; NSS may block.

    Only somebody who can log in could reach, as themselves, what an app of that uid has. Accounts of services have the
    same few numbers everywhere, and mean nobody.
    """
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return ""
    regular = uid >= _REGULAR_UID_MIN and uid != _NOBODY_UID
    can_log_in = posixpath.basename(account.pw_shell) not in _NO_LOGIN
    return account.pw_name if regular or can_log_in else ""


def unknown_names(policy: ContainerPolicy) -> dict[str, list[str]]:
    """Give by its key (users, ask, groups) each name in a policy that no account of the host has; NSS may block."""
    lookups = (("users", pwd.getpwnam), ("ask", pwd.getpwnam), ("groups", grp.getgrnam))
    found = {key: [name for name in getattr(policy, key) if _is_unknown(name, look_up)] for key, look_up in lookups}
    return {key: names for key, names in found.items() if names}


def _is_unknown(name: str, look_up: Callable[[str], object]) -> bool:
    try:
        look_up(name)
    except KeyError:
        return True
    except OSError:
        pass  # a directory service that fails does not say that there is nobody of this name
    return False


def caller_of(uid: int) -> Caller:
    """Give who a uid is now, by the host's account data; NSS may block."""
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return Caller(sender="", uid=uid, user="")
    groups = set()
    for group_id in os.getgrouplist(account.pw_name, account.pw_gid):
        with contextlib.suppress(KeyError):
            groups.add(grp.getgrgid(group_id).gr_name)
    return Caller(sender="", uid=uid, user=account.pw_name, groups=frozenset(groups))
