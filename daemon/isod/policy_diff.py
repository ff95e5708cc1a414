"""What changes from one policy to the next, and what of it takes something away from running apps."""

from dataclasses import dataclass

from isod.policy import ContainerPolicy
from isod.policy_loader import Policy
from isod.resources import GrantValue, Resource, kinds
from isod.settings import Limits

_ACCOUNTS = ("users", "groups", "ask")
_OTHER_KEYS = tuple(key for key in ContainerPolicy.model_fields if key not in (*_ACCOUNTS, "grants"))


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One key of one container that changes; key "container" is its file as such, container "" is isod.toml."""

    container: str
    key: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    ends: bool = False  # something that a running app has is withdrawn

    @property
    def withdrawn(self) -> tuple[str, ...]:
        """What is no longer there."""
        return tuple(item for item in self.before if item not in self.after)


def diff_policies(old: Policy, new: Policy) -> list[PolicyChange]:
    """List what changes, by container and key.

    A deleted file ends nothing: no new launches, running apps stay. `ends` of a withdrawn user says that no list of
    users names them any more; whether a group still admits them is asked of authorise.sees with their groups.
    """
    changes: list[PolicyChange] = []
    for name in sorted(old.containers.keys() | new.containers.keys()):
        before, after = old.containers.get(name), new.containers.get(name)
        if before is None or after is None:
            changes.append(PolicyChange(name, "container", _presence(before), _presence(after)))
        elif before != after:
            changes += _account_changes(name, before, after)
            changes += _grant_changes(name, before, after)
            changes += _other_changes(name, before, after)
    return changes + _limit_changes(old.settings.limits, new.settings.limits)


def _limit_changes(old: Limits, new: Limits) -> list[PolicyChange]:
    """List limits that change; who is over a new one keeps what they have, and gets nothing more."""
    pairs = {key: (getattr(old, key), getattr(new, key)) for key in Limits.model_fields}
    return [
        PolicyChange("", f"limits.{key}", _shown(before), _shown(after))
        for key, (before, after) in pairs.items()
        if before != after
    ]


def _presence(policy: ContainerPolicy | None) -> tuple[str, ...]:
    return ("present",) if policy else ()


def _account_changes(name: str, before: ContainerPolicy, after: ContainerPolicy) -> list[PolicyChange]:
    still = {*after.users, *after.ask}
    changes = []
    for key in _ACCOUNTS:
        old, new = getattr(before, key), getattr(after, key)
        if set(old) != set(new):
            gone = set(old) - set(new)
            ends = bool(gone) if key == "groups" else bool(gone - still)
            changes.append(PolicyChange(name, key, old, new, ends))
    return changes


def _grant_changes(name: str, before: ContainerPolicy, after: ContainerPolicy) -> list[PolicyChange]:
    changes = []
    for key, kind in kinds().items():
        old, new = before.grants.value(key), after.grants.value(key)
        if old != new:
            texts = (kind.text_of(old),), (kind.text_of(new),)
            changes.append(PolicyChange(name, f"grants.{key}", *texts, ends=takes_away(kind, old, new)))
    return changes


def takes_away(kind: type[Resource], old: GrantValue, new: GrantValue) -> bool:
    """Tell whether the new grant lacks something that the old one gave."""
    old_rank, new_rank = kind.levels.index(kind.level_of(old)), kind.levels.index(kind.level_of(new))
    if old_rank != new_rank:
        return new_rank < old_rank
    # The same level: what was unnarrowed, or named more, loses by a list that leaves something out.
    return isinstance(new, tuple) and (isinstance(old, str) or not set(old) <= set(new))


def _other_changes(name: str, before: ContainerPolicy, after: ContainerPolicy) -> list[PolicyChange]:
    changes = []
    for key in _OTHER_KEYS:
        old, new = getattr(before, key), getattr(after, key)
        if old != new:
            changes.append(PolicyChange(name, key, _shown(old), _shown(new)))
    return changes


def _shown(value: object) -> tuple[str, ...]:
    """Write a value for a human; of variables the names only, since their values may be secret."""
    if value is None:
        return ()
    if isinstance(value, dict):
        return tuple(sorted(value))
    if isinstance(value, tuple):
        return value
    return (str(value).lower() if isinstance(value, bool) else str(value),)
