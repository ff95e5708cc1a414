"""The sessions that isod holds open inside for accounts: they end when policy no longer admits anybody as that account.

With the last session of an account its logind ends its user manager too, and what D-Bus or systemd started there
(logind.conf(5), UserStopDelaySec). Where the account lingers or is logged in otherwise it does not: that is the
container's matter.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

from isod.core.admission import LATER_SEC, WAITS_SEC, Admission, admission
from isod.core.apps import Apps
from isod.core.background import Background
from isod.core.container import Container
from isod.core.containers import Containers
from isod.policy import ContainerPolicy
from isod.ports import AuditSink
from isod_contract.errors import IsodError
from isod_contract.names import keeper_unit
from isod_contract.records import SESSION_END

_log = logging.getLogger(__name__)

_PATTERN = "isoctl-session-*.service"  # isod_contract.names.keeper_unit
_UNIT = re.compile(r"isoctl-session-([0-9]{1,10})\.service")
_UNITS_MAX = 256  # looked at in one go; a container may list what it likes
# Until all are gone: apps of the account end first, and a container that hangs is asked again once it may answer.
_WAITS_SEC = WAITS_SEC
_LATER_SEC = LATER_SEC
_TELLS_SEC = 2.0  # a reload waits for what is told beforehand, of each container


class Keepers:
    """Ends sessions of withdrawn accounts, for as long as it takes."""

    def __init__(self, *, containers: Containers, apps: Apps, audit: AuditSink) -> None:
        """Take the parts; nothing is under way."""
        self._containers = containers
        self._apps = apps
        self._audit = audit
        self._under_way: dict[Container, asyncio.Task[None]] = {}
        self._background = Background()

    def look_at_all(self) -> None:
        """Look at all containers that run, once policy has changed; does not wait."""
        for container in self._containers.all():
            self.look_at(container)

    def look_at(self, container: Container) -> None:
        """Look at a container, if it answers; does not wait.

        Also whenever it begins to: it may have been away when policy changed, or isod was. Without a policy file that
        could be read (it is broken, or deleted) nothing is known of who is admitted, and nothing ends.
        """
        before = self._under_way.pop(container, None)
        if before is not None:
            before.cancel()
        if (guest := container.guest) is not None and self._has_policy(container):
            self._under_way[container] = self._background.spawn(self._end_all(container, guest))

    def _has_policy(self, container: Container) -> bool:
        return container.name in self._containers.policy.containers

    async def told(self, after: Mapping[str, ContainerPolicy]) -> list[Mapping[str, object]]:
        """Name the sessions that end with a policy; waits a while for a container that does not answer.

        Of all containers: the members of a group change without the policy.
        """
        concerned = [each for each in self._containers.all() if each.guest is not None and each.name in after]
        found = await asyncio.gather(*(self._told(each, after[each.name]) for each in concerned))
        return [change for changes in found for change in changes]

    async def _told(self, container: Container, policy: ContainerPolicy) -> list[Mapping[str, object]]:
        changes: list[tuple[str, bool]] = []
        try:
            async with asyncio.timeout(_TELLS_SEC):
                async for _, account, answer in self._withdrawn(container.guest, policy):
                    what = f"the session of {account} inside ends, with what D-Bus or systemd started there"
                    if answer is Admission.UNKNOWN:
                        what += ", if the host's accounts and groups still do not know of it in four minutes"
                    changes.append((what, True))
        except (IsodError, TimeoutError):
            changes = [("it does not answer; sessions of withdrawn users inside end as soon as it does", False)]
        except Exception as error:  # noqa: BLE001 - isod is out of threads: what is told must hold up nothing that ends
            _log.warning("session.not_told", extra=_fault(container, error))
            changes = [("its sessions could not be read now; those of withdrawn users end later", False)]
        return [
            {"container": container.name, "key": "session", "change": change, "ends": ends} for change, ends in changes
        ]

    async def _end_all(self, container: Container, guest: Any) -> None:
        number = 0
        answers: Counter[tuple[int, Admission]] = Counter()
        while container.guest is guest:
            await asyncio.sleep(_WAITS_SEC[number] if number < len(_WAITS_SEC) else _LATER_SEC)
            number += 1
            try:
                if container.guest is not guest or await self._look(container, guest, answers):
                    return
            except (IsodError, TimeoutError) as error:
                _log.info("session.not_ended", extra=_fault(container, error))
            except Exception as error:  # noqa: BLE001 - a fault costs one look; else the session would stay for good
                _log.warning("session.not_ended", extra=_fault(container, error))

    async def _look(self, container: Container, guest: Any, answers: Counter[tuple[int, Admission]]) -> bool:
        """End what is due; tells whether nothing is left of it. Raises ContainerGone, UnsafePath."""
        policy = container.policy
        if not self._has_policy(container):
            return True  # the next policy has it looked at again
        withdrawn = [found async for found in self._withdrawn(guest, policy)]
        given = {(uid, answer) for uid, _, answer in withdrawn}
        for key in answers.keys() - given:
            del answers[key]  # in a row
        answers.update(given)
        for uid, account, answer in withdrawn:
            unit = keeper_unit(uid)
            # Looked at after all waits: what runs as that account is ended by whoever takes its leave from it.
            due = answers[uid, answer] >= answer.value
            same = container.guest is guest and container.policy is policy and self._has_policy(container)
            if due and same and not self._has_app(container, account):
                self._note_end(container, guest, uid, account)
                await guest.stop_unit(unit)
        return not withdrawn  # else to see whether they went

    def _note_end(self, container: Container, guest: Any, uid: int, account: str) -> None:
        """Record the end of a session, once until isod opens another one for that account.

        Whether a unit is there, and whose, is the container's word: one that lies would write the audit, so what is
        recorded of it while isod is connected to it is bounded.
        """
        if uid in guest.ended_sessions:
            return
        recorded = len(guest.ended_sessions)
        guest.ended_sessions.add(uid)
        if recorded < _UNITS_MAX:
            self._audit.record(SESSION_END, container=container.name, account=account, unit=keeper_unit(uid))
            _log.info("session.withdrawn", extra={"container": container.name, "account": account})
        elif recorded == _UNITS_MAX:
            reason = f"more than {_UNITS_MAX} ended: the ends of others are not recorded until it is started again"
            _log.warning("session.not_recorded", extra={"container": container.name, "reason": reason})

    async def _withdrawn(self, guest: Any, policy: ContainerPolicy) -> AsyncIterator[tuple[int, str, Admission]]:
        """Give uid, account and answer for each session that a policy does not admit. Raises as above."""
        for unit in (await guest.running_units(_PATTERN))[:_UNITS_MAX]:
            if (number := _UNIT.fullmatch(unit)) is None or unit != keeper_unit(uid := int(number[1])):
                continue
            account = await _account_of(guest, unit, uid)
            if account and (answer := await asyncio.to_thread(admission, policy, account)) is not Admission.YES:
                yield uid, account, answer

    def _has_app(self, container: Container, account: str) -> bool:
        return any(
            app.record.host_unit == container.unit
            and app.record.user == account
            and (app.record.running or not app.ended)
            for app in self._apps.all()
        )


def _fault(container: Container, error: Exception) -> dict[str, str]:
    reason = str(error) if isinstance(error, IsodError) else f"{type(error).__name__}: {error}"
    return {"container": container.name, "reason": reason}


async def _account_of(guest: Any, unit: str, uid: int) -> str:
    """Give the account that a session is of, "" where the container contradicts itself."""
    untrusted_name = (await guest.unit_properties(unit, "Service")).get("User")
    account = await guest.account(untrusted_name) if isinstance(untrusted_name, str) and untrusted_name else None
    return account.name if account is not None and account.uid == uid else ""
