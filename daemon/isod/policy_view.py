"""What doctor is told of policy: the files as they are now, beside what is in force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isod.policy_loader import PolicyProblem


@dataclass(frozen=True, slots=True)
class PolicyView:
    """What is wrong, as it was seen at one moment."""

    problems: tuple[PolicyProblem, ...] = ()
    is_stale: bool = False  # the files would change what is in force
    # By container and key (users, ask, groups): names in force that no account of the host has.
    unknown: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
