"""The sessions that isod holds open inside for accounts: they end when policy no longer admits anybody as that account.

With the last session of an account its logind ends its user manager too, and what D-Bus or systemd started there
(logind.conf(5), UserStopDelaySec). Where the account lingers or is logged in otherwise it does not: that is the
container's matter.
"""

import asyncio
import logging
import pwd
import re
from typing import Any

from isod.authorise import account_for, sees
from isod.core.apps import Apps
from isod.core.background import Background
from isod.core.container import Container
from isod.core.containers import Containers
from isod.core.host_users import caller_of
from isod.policy import ContainerPolicy
from isod_contract.errors import IsodError

_log = logging.getLogger(__name__)

_PATTERN = "isoctl-session-*.service"  # isod_contract.names.keeper_unit
_UNIT = re.compile(r"isoctl-session-([0-9]{1,10})\.service")
_UNITS_MAX = 256  # looked at in one go; a container may list what it likes
# Until all are gone: apps of the account end first, and a container that hangs is asked again once it may answer.
_WAITS_SEC = (0.0, 2.0, 5.0, 15.0, 30.0)
_LATER_SEC = 60.0


class Keepers:
    """Ends sessions of withdrawn accounts, for as long as it takes."""

    def __init__(self, *, containers: Containers, apps: Apps) -> None:
        """Take the parts; nothing is under way."""
        self._containers = containers
        self._apps = apps
        self._under_way: dict[Container, asyncio.Task[None]] = {}
        self._background = Background()

    def look_at_all(self) -> None:
        """Look at all containers that run, once policy has changed; does not wait."""
        for container in self._containers.all():
            before = self._under_way.pop(container, None)
            if before is not None:
                before.cancel()
            if (guest := container.guest) is not None:
                self._under_way[container] = self._background.spawn(self._end_all(container, guest))

    async def _end_all(self, container: Container, guest: Any) -> None:
        number = 0
        while container.guest is guest:
            await asyncio.sleep(_WAITS_SEC[number] if number < len(_WAITS_SEC) else _LATER_SEC)
            number += 1
            try:
                if container.guest is not guest or await self._look(container, guest):
                    return
            except (IsodError, TimeoutError) as error:
                told = {"container": container.name, "reason": str(error)}
                _log.info("session.not_ended", extra=told)

    async def _look(self, container: Container, guest: Any) -> bool:
        """End what is due; tells whether nothing is left of it. Raises ContainerGone, UnsafePath."""
        is_left = False
        for unit in (await guest.running_units(_PATTERN))[:_UNITS_MAX]:
            number = _UNIT.fullmatch(unit)
            name = await _account_of(guest, unit, int(number[1])) if number else ""
            if not name or await asyncio.to_thread(_is_admitted, container.policy, name):
                continue
            is_left = True  # to see whether it went
            # Looked at after all waits: what runs as that account is ended by whoever takes its leave from it.
            if container.guest is guest and not self._has_app(container, name):
                _log.info("session.withdrawn", extra={"container": container.name, "account": name})
                await guest.stop_unit(unit)
        return not is_left

    def _has_app(self, container: Container, account: str) -> bool:
        return any(
            app.record.host_unit == container.unit
            and app.record.user == account
            and (app.record.running or not app.ended)
            for app in self._apps.all()
        )


async def _account_of(guest: Any, unit: str, uid: int) -> str:
    """Give the account that a session is of, "" where the container contradicts itself."""
    untrusted_name = (await guest.unit_properties(unit, "Service")).get("User")
    account = await guest.account(untrusted_name) if isinstance(untrusted_name, str) and untrusted_name else None
    return account.name if account is not None and account.uid == uid else ""


def _is_admitted(policy: ContainerPolicy, account: str) -> bool:
    """Tell whether anybody may have apps as this account; NSS may block.

    The host's root may as root; whoever policy lets be root may as anybody.
    """
    anybody = bool(policy.users or policy.groups or policy.ask)
    if account == "root" or (anybody and (account == policy.user or policy.grants.level("root") != "none")):
        return True
    try:
        caller = caller_of(pwd.getpwnam(account).pw_uid)
    except KeyError:
        return False
    except OSError:
        return True  # a directory service that fails does not say that they are gone
    return sees(policy, caller) and account_for(policy, caller) == account
