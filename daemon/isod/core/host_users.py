"""Whose uid it is on the host: without a user namespace an account inside is the host's account of the same number."""

import posixpath
import pwd

_REGULAR_UID_MIN = 1000  # login.defs(5)
_NOBODY_UID = 65534
_NO_LOGIN = frozenset({"nologin", "false", "sync", "halt", "shutdown"})


def login_user(uid: int) -> str:
    """Give the name of the host's login user with a uid, "" for none; NSS may block.

    Only somebody who can log in could reach, as himself, what an app of that uid has. Accounts of services have the
    same few numbers everywhere, and mean nobody.
    """
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return ""
    regular = uid >= _REGULAR_UID_MIN and uid != _NOBODY_UID
    can_log_in = posixpath.basename(account.pw_shell) not in _NO_LOGIN
    return account.pw_name if regular or can_log_in else ""
