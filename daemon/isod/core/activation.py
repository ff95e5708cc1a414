"""The display in the environment of a container's own session, for programs that D-Bus or systemd starts there.

Done by a unit of the account's inside, since isod itself never talks to a user's bus.
"""

import asyncio
import logging
import secrets
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from isod.core.background import Background
from isod.core.command import DEFAULT_PATH
from isod.core.container import Container
from isod.core.environment_file import EnvironmentFiles
from isod.ports import Account
from isod_contract import limits
from isod_contract.errors import IsodError
from isod_contract.names import environment_unit

_log = logging.getLogger(__name__)

# dbus-daemon keeps an environment of its own for what it starts; dbus-broker leaves that to systemd. Neither can be
# told to forget a variable, so what is gone is set empty in dbus-daemon's.
_SET = 'dbus-update-activation-environment --systemd "$@" 2>/dev/null || systemctl --user import-environment "$@"'
_UNSET = (
    'systemctl --user unset-environment "$@"; for name; do set -- "$@" "$name="; shift; done; '
    'dbus-update-activation-environment "$@" 2>/dev/null; true'
)


class Activation:
    """Tells a container's user managers what leads to the display, once for each change."""

    def __init__(self, environments: EnvironmentFiles) -> None:
        """Take who makes files of variables; nobody has been told."""
        self._environments = environments
        self._told: WeakKeyDictionary[Any, dict[int, dict[str, str]]] = WeakKeyDictionary()
        self._turns: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()
        self._background = Background()

    def show(self, container: Container, guest: Any, account: Account, variables: Mapping[str, str]) -> None:
        """Have these variables, and none that were shown before, in the account's session; does not wait."""
        told = self._told.setdefault(guest, {})
        before, now = told.get(account.uid, {}), dict(variables)
        if before == now:
            return
        told[account.uid] = now
        self._background.spawn(self._change(container, guest, account, before, now))

    def withdraw(self, container: Container, guest: Any, account: Account) -> None:
        """Take away what was shown, if anything was."""
        if self._told.get(guest, {}).get(account.uid):
            self.show(container, guest, account, {})

    async def _change(
        self, container: Container, guest: Any, account: Account, before: dict[str, str], now: dict[str, str]
    ) -> None:
        # In turn: of two changes at once the later one must have the last word.
        async with self._turns.setdefault(guest, asyncio.Lock()):
            try:
                if gone := sorted(before.keys() - now.keys()):
                    await self._run(container, guest, account, _UNSET, gone, {})
                if now:
                    await self._run(container, guest, account, _SET, sorted(now), now)
            except (IsodError, TimeoutError) as error:
                _log.warning("display.not_shown", extra={"account": account.name, "reason": str(error)})

    async def _run(
        self,
        container: Container,
        guest: Any,
        account: Account,
        script: str,
        names: list[str],
        variables: dict[str, str],
    ) -> None:
        runtime = f"/run/user/{account.uid}"
        environment = {
            **variables,
            "PATH": DEFAULT_PATH.format(user=account.name),
            "XDG_RUNTIME_DIR": runtime,
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
        }
        unit = environment_unit(account.uid, secrets.token_hex(4))
        properties = [
            ("Description", "s", f"isoctl display of {account.name}"),
            ("Type", "s", "oneshot"),
            ("CollectMode", "s", "inactive-or-failed"),
            ("TimeoutStartUSec", "t", 5_000_000),
            ("User", "s", account.name),
            ("ExecStartEx", "a(sasas)", [["/bin/sh", ["sh", "-c", script, "sh", *names], ["no-env-expand"]]]),
        ]
        async with self._environments.property_for(container, guest, unit, environment) as environment_property:
            job = await guest.start_unit(unit, [*properties, environment_property])
            result = "lost" if job is None else await asyncio.wait_for(job, limits.HOST_CALL_TIMEOUT_SEC)
        if result != "done":
            _log.warning("display.not_shown", extra={"account": account.name, "reason": f"job {result}"})
