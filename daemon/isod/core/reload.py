"""Reading the policy again: what changes, which apps that ends, and putting it in force."""

import asyncio
import logging
import shlex
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from isod.authorise import account_for, is_withdrawn, sees
from isod.core.admission import LATER_SEC, WAITS_SEC, Admission, admission, owner_admission
from isod.core.app import App
from isod.core.apps import Apps
from isod.core.background import Background
from isod.core.containers import Containers
from isod.core.devices import Devices
from isod.core.host_users import caller_of, unknown_names
from isod.core.idle import Idle
from isod.core.keepers import Keepers
from isod.core.reconcile import Reconciler
from isod.core.shorten import shortened
from isod.policy import ContainerPolicy
from isod.policy_diff import diff_policies, takes_away
from isod.policy_loader import LoadResult, Policy, load_policy
from isod.policy_view import PolicyView
from isod.ports import AuditSink, Caller
from isod.resources import kinds
from isod_contract.errors import IsodError, NotGranted, NotPermitted
from isod_contract.records import POLICY

_log = logging.getLogger(__name__)
_COMMAND_CHARS = 80
_LOOK_AGAIN_SEC = 1.0
_NAMELESS_WAITS_SEC = (0.2, 0.5, 1.0)
_DOUBT_WAITS_SEC = WAITS_SEC
_DOUBT_LATER_SEC = LATER_SEC
_DOUBTS = {Admission.NOT_A_MEMBER: "half a minute", Admission.UNKNOWN: "four minutes"}


@dataclass(frozen=True, slots=True)
class _Ending:
    """An app that a policy ends, or may end, why, and how sure that is; `answer` is never YES."""

    app: App
    owner: Caller
    reason: IsodError
    answer: Admission


class PolicyInForce:
    """The policy as it was loaded last; broken files keep their last good form."""

    def __init__(
        self,
        *,
        directory: Path,
        loaded: LoadResult,
        containers: Containers,
        apps: Apps,
        reconciler: Reconciler,
        devices: Devices,
        idle: Idle,
        audit: AuditSink,
    ) -> None:
        """Take where it lies, what was loaded at the start, and whom a change concerns."""
        self._directory = directory
        self._loaded = loaded
        self._containers = containers
        self._apps = apps
        self._reconciler = reconciler
        self._devices = devices
        self._idle = idle
        self._audit = audit
        self.keepers = Keepers(containers=containers, apps=apps, audit=audit)
        self._turn = asyncio.Lock()
        self._doubts: asyncio.Task[None] | None = None
        self._background = Background()
        self._seen = PolicyView()
        self._looked_sec = -_LOOK_AGAIN_SEC

    def tell(self) -> None:
        """Record what was loaded, and what is wrong with it."""
        problems = [str(problem) for problem in self._loaded.problems]
        for problem in problems:
            _log.error("policy.refused", extra={"problem": problem})
        self._audit.record(POLICY, outcome="refused" if problems else "loaded", error="; ".join(problems) or None)

    async def look(self) -> PolicyView:
        """Tell what is wrong with the files as they are now, and with those in force.

        Anybody may ask, and reading takes a while: what was seen within the last second is told again.
        """
        async with self._turn:
            if time.monotonic() > self._looked_sec + _LOOK_AGAIN_SEC:
                before = self._loaded.policy
                fresh = await asyncio.to_thread(load_policy, self._directory, before)
                self._seen = PolicyView(
                    problems=fresh.problems,
                    is_stale=bool(list(diff_policies(before, fresh.policy))),
                    unknown=await asyncio.to_thread(_unknown, before),
                )
                self._looked_sec = time.monotonic()
            return self._seen

    async def reload(self, _caller: Caller, dry_run: bool) -> Sequence[Mapping[str, object]]:
        """Give what changes, which apps end with it and what is refused; and do it, unless `dry_run`."""
        # In turn: of two at once the one that read the files first must not have the last word.
        async with self._turn:
            before = self._loaded.policy
            fresh = await asyncio.to_thread(load_policy, self._directory, before)
            changes: list[Mapping[str, object]] = [
                {
                    "container": change.container,
                    "key": change.key,
                    "change": f"{', '.join(change.before) or '-'} -> {', '.join(change.after) or '-'}",
                    "ends": change.ends,
                }
                for change in diff_policies(before, fresh.policy)
            ]
            changes += [
                {"container": "", "change": f"refused: {problem}; {problem.effect}"} for problem in fresh.problems
            ]
            changes += _admitting_nobody(fresh.policy, await asyncio.to_thread(_unknown, fresh.policy))
            changes += [each async for each in self._staying(fresh.policy)]
            if not dry_run:
                # First in force, so that no launch is decided by the old one while apps are ended.
                self._loaded = fresh
                if self._doubts is not None:
                    self._doubts.cancel()
                self._looked_sec = -_LOOK_AGAIN_SEC
                await self._containers.apply_policy(fresh.policy)
                self._reconciler.policy_changed(self._containers.all())
                self._devices.look_at_all()
                self._idle.policy_changed()
                # Before anything is ended: what the journal has of a policy must not hang on a container's answer.
                self.tell()
            ending = await self._ending(before, fresh.policy)
            _log_not_judged(ending)
            sure = [each for each in ending if each.answer is Admission.NO]
            if not dry_run:
                for each in sure:
                    self._apps.warn(each.app, each.reason)
                if len(sure) < len(ending):
                    self._doubts = self._background.spawn(self._end_doubted(before, fresh.policy))
        # Out of the turn: whoever looks at the policy meanwhile does not wait for containers. Nor does what ends wait
        # for what is told: one container that does not answer would keep the withdrawn apps of all.
        try:
            sessions, late = await asyncio.gather(
                self.keepers.told(fresh.policy.containers),
                self._apps.stop_all(() if dry_run else [each.app for each in sure]),
            )
        finally:
            if not dry_run:
                self.keepers.look_at_all()
        return [*changes, *sessions, *(_told(each, is_late=each.app in late) for each in ending)]

    async def _staying(self, after: Policy) -> AsyncIterator[Mapping[str, object]]:
        """Name the displays that a new policy takes from running containers where something may stay connected.

        What D-Bus or systemd started inside is no app of isod's, and a compositor goes on serving who is connected. Of
        a user whose session inside ends with the policy nothing stays: that is told of the session.
        """
        for container in self._containers.all():
            new = after.containers.get(container.name)
            if new is None:
                continue
            held = container.grants()
            lost: set[str] = set()
            for caller, keys in self._reconciler.shown(container):
                mine = {key: held[key] for key in keys}
                if sees(new, caller):
                    lost.update(_lost(mine, container.policy, new))
                elif await _may_stay(new, account_for(container.policy, caller)):
                    lost.update(keys)
            for key in sorted(lost):
                change = (
                    "programs that D-Bus or systemd started inside stay connected until they end; "
                    f"`isoctl restart {container.name}` ends them"
                )
                yield {"container": container.name, "key": f"grants.{key}", "change": change, "ends": False}

    async def _ending(self, before: Policy, after: Policy) -> list[_Ending]:
        """Give the apps that a new policy ends.

        Those are the apps of withdrawn users and accounts, running or on their way, and those that hold a withdrawn
        grant: a client that is connected to a display stays so until it ends. A deleted file ends nothing that runs,
        but nothing new starts: what is on its way does not arrive.
        """
        ending: list[_Ending] = []
        owners: dict[int, Caller | None] = {}
        admitted: dict[tuple[str, int], Admission] = {}
        for app in self._apps.all():
            record = app.record
            if record.owner_uid == 0 or (app.ended and not record.running):
                continue
            old, new = (policy.containers.get(record.container) for policy in (before, after))
            if record.owner_uid not in owners:
                owners[record.owner_uid] = await _owner(record.owner_uid)
            owner = owners[record.owner_uid]
            if owner is None:
                nobody = Caller("", record.owner_uid, "")
                unread = NotPermitted(reason=f"the host's accounts can't be read, so uid {record.owner_uid} is nobody")
                ending.append(_Ending(app, nobody, unread, Admission.UNREADABLE))
                continue
            lost = [] if new is None else _lost(record.grants, old, new)
            if new is None:
                answer = Admission.YES if record.running else Admission.NO
            elif not is_withdrawn(old, new, owner, record.user):
                answer = Admission.YES
            elif sees(new, owner):
                answer = Admission.NO  # they stay, and not as that account
            else:
                key = record.container, owner.uid
                if key not in admitted:
                    admitted[key] = await _admission_of(old, new, owner)
                answer = admitted[key]
            reason: IsodError = NotPermitted(
                reason=f"policy no longer admits {owner.user or owner.uid} as {record.user}"
            )
            if lost and answer is not Admission.NO:
                reason = NotGranted(resource=lost[0], container=record.container, reason="policy withdrew it")
                answer = Admission.NO
            if answer is not Admission.YES:
                ending.append(_Ending(app, owner, reason, answer))
        return ending

    async def _end_doubted(self, before: Policy, policy: Policy) -> None:
        """End the apps whose owners are not admitted by what the host says of its accounts, once that is sure.

        It has to say so several times in a row: a directory service that fails knows of nobody. For as long as this
        policy is in force; the next one has all judged anew.
        """
        answers: Counter[tuple[str, Admission]] = Counter()
        for wait_sec in chain(_DOUBT_WAITS_SEC, repeat(_DOUBT_LATER_SEC)):
            await asyncio.sleep(wait_sec)
            try:
                found = await self._ending(before, policy)
            except Exception as error:  # noqa: BLE001 - a fault costs one look
                _log.warning("app.not_judged", extra={"reason": f"{type(error).__name__}: {error}"})
                continue
            _log_not_judged(found)
            ending = [each for each in found if not each.app.record.stop_wanted]
            given = {(each.app.record.id, each.answer) for each in ending}
            answers = Counter({key: answers[key] + 1 for key in given})
            due = [each for each in ending if answers[each.app.record.id, each.answer] >= each.answer.value]
            if self._loaded.policy is not policy:
                return
            for each in due:
                self._apps.warn(each.app, each.reason)
            await self._apps.stop_all(each.app for each in due)
            if len(due) == len(ending):
                return


async def _admission_of(old: ContainerPolicy | None, new: ContainerPolicy, owner: Caller) -> Admission:
    try:
        return await asyncio.to_thread(owner_admission, old, new, owner)
    except (OSError, RuntimeError):  # no descriptor, no thread
        return Admission.UNREADABLE


def _log_not_judged(ending: Sequence[_Ending]) -> None:
    for uid in sorted({each.owner.uid for each in ending if each.answer is Admission.UNREADABLE}):
        _log.warning("app.not_judged", extra={"uid": uid, "reason": "the host's accounts can't be read"})


async def _owner(uid: int) -> Caller | None:
    """Give who a uid is, None where the host's accounts can't be read.

    A directory service that fails looks like one without the account (the pwd module has one error for both). So a uid
    without a name is looked up again, and believed only while root's is found.
    """
    try:
        owner = await asyncio.to_thread(caller_of, uid)
        for wait_sec in _NAMELESS_WAITS_SEC:
            if owner.user:
                return owner
            await asyncio.sleep(wait_sec)
            owner = await asyncio.to_thread(caller_of, uid)
        return owner if owner.user or (await asyncio.to_thread(caller_of, 0)).user else None
    except (OSError, RuntimeError):  # no descriptor, no thread
        return None


async def _may_stay(policy: ContainerPolicy, account: str) -> bool:
    return await asyncio.to_thread(admission, policy, account) is Admission.YES


def _unknown(policy: Policy) -> Mapping[str, Mapping[str, Sequence[str]]]:
    found = {name: unknown_names(each) for name, each in policy.containers.items()}
    return {name: keys for name, keys in found.items() if keys}


def _admitting_nobody(
    policy: Policy, unknown: Mapping[str, Mapping[str, Sequence[str]]]
) -> Iterator[Mapping[str, object]]:
    """Name what a policy says in vain: accounts that are not there, and containers that nobody may use."""
    for name, each in policy.containers.items():
        for key, names in unknown.get(name, {}).items():
            quoted = ", ".join(map(repr, names))
            kind = "group" if key == "groups" else "user"
            change = f"this host has no {kind} {quoted}, so that admits nobody"
            yield {"container": name, "key": key, "change": change, "ends": False}
        if not (each.users or each.ask or each.groups):
            change = "names neither users nor groups, so only root may use it"
            yield {"container": name, "key": "", "change": change, "ends": False}


def _lost(held: Mapping[str, str], old: ContainerPolicy | None, new: ContainerPolicy) -> list[str]:
    """Give the resources that an app holds at a level which policy no longer grants, or of which it grants less."""
    lost = []
    for key in sorted(held.keys() & kinds().keys()):
        kind, level = kinds()[key], new.grants.level(key)
        lower = held[key] in kind.levels and kind.levels.index(level) < kind.levels.index(held[key])
        same = old is not None and held[key] == level == old.grants.level(key)
        if lower or (same and old and takes_away(kind, old.grants.value(key), new.grants.value(key))):
            lost.append(key)
    return lost


def _told(ending: _Ending, *, is_late: bool) -> dict[str, object]:
    record, owner = ending.app.record, ending.owner
    name = owner.user or str(owner.uid)
    when = f" as soon as container {record.container} answers, which it does not now" if is_late else ""
    if ending.answer in _DOUBTS:
        when = f" in {_DOUBTS[ending.answer]}, if the host's accounts and groups still do not admit them then"
    judged = ending.answer is not Admission.UNREADABLE
    what = f"ends{when}" if judged else "stays until the host's accounts can be read, which tell whether it ends"
    return {
        "container": record.container,
        "key": "app",
        "app": record.id,
        "uid": record.owner_uid,
        "change": f"{record.id[:12]} of {name} {what}: {shlex.join(shortened(record.argv, _COMMAND_CHARS))}",
        "ends": judged,
    }
