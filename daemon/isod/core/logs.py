"""Logs: a journalctl that runs inside the container writes to a pipe; isod reads nothing of it."""

import os
import secrets
from collections.abc import Iterable
from typing import Any

from isod.core.prepare import SYSTEM_PATH
from isod_contract.errors import ContainerGone, LimitExceeded
from isod_contract.limits import LOG_LINES_MAX
from isod_contract.options import LogOptions


def running(guest: Any, container: str) -> Any:
    """Give the connection to a container whose journal is wanted. Raises ContainerGone without one."""
    if guest is None:
        raise ContainerGone(container=container, reason="its journal can be read only while it runs")
    return guest


async def open_journal(guest: Any, uid: int, options: LogOptions, matches: list[str], most: int) -> int:
    """Give the read end of a pipe that a journalctl inside writes to; a uid has at most so many open.

    Raises LimitExceeded, ContainerGone.
    """
    pattern = f"isoctl-log-{uid}-*.service"
    running = await guest.call_manager("ListUnitsByPatterns", "asas", [["active", "activating"], [pattern]])
    if len(running[0]) >= most:
        raise LimitExceeded(reason=f"{most} logs are open in this container; close one")
    argv = ["journalctl", "--quiet", "--no-pager", "--output=short-iso"]
    argv += [f"--lines={min(options.lines if options.lines is not None else LOG_LINES_MAX, LOG_LINES_MAX)}"]
    argv += ["--follow"] if options.follow else []
    argv += [f"--since=@{options.since_usec / 1e6:.6f}"] if options.since_usec else []
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        await guest.start_unit(
            pattern.replace("*", secrets.token_hex(8)),
            [
                ("Description", "s", "isoctl log"),
                ("Type", "s", "exec"),
                ("CollectMode", "s", "inactive-or-failed"),
                ("RuntimeMaxUSec", "t", 86_400_000_000 if options.follow else 60_000_000),
                ("StandardOutputFileDescriptor", "h", 0),
                ("StandardError", "s", "null"),
                (
                    "ExecStartEx",
                    "a(sasas)",
                    [["/bin/sh", ["sh", "-c", 'exec "$@"', "sh", *argv, *matches], ["no-env-expand"]]],
                ),
                ("Environment", "as", [f"PATH={SYSTEM_PATH}"]),
            ],
            [write_fd],
        )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    return read_fd


async def own_entries(guest: Any, uid: int, accounts: Iterable[str]) -> list[str]:
    """Give what journal entries of a uid's apps have, which run as `accounts` (systemd.journal-fields(7)).

    Any process inside can send ISOCTL_UID= with a line of its own. _UID= is journald's word, and by it other
    accounts' processes put nothing into this user's log. What an app writes to its streams before it has its own uid is
    root's; so are systemd's own lines about its unit, which come another way and are left out.
    """
    found = [await guest.account(name) for name in sorted(accounts) if name]
    own = f"ISOCTL_UID={uid}"
    uids = sorted({account.uid for account in found if account is not None} - {0})
    # Alternatives are separated by a plus (journalctl(1)).
    by_account = [own, *(f"_UID={account_uid}" for account_uid in uids), "+"] if uids else []
    return [*by_account, own, "_UID=0", "_TRANSPORT=stdout", "_TRANSPORT=syslog"]
