"""One container: its unit on the host, its state, and the connection to its own systemd while it runs."""

import asyncio
from typing import Any

from isod.authorise import account_for
from isod.nixos import declared_system
from isod.policy import ContainerPolicy
from isod.ports import Caller
from isod.resources import GrantValue, device_kinds, kinds
from isod_contract.errors import IsodError
from isod_contract.states import ContainerState


class Container:
    """What isod knows of a container; a cache that may be lost at any moment."""

    def __init__(self, name: str, unit: str, machine: str, policy: ContainerPolicy) -> None:
        """Take name, host unit, machined's name of it, policy."""
        self.name = name
        self.unit = unit
        self.machine = machine
        self.policy = policy
        self.state = ContainerState.STOPPED
        self._problem: IsodError | None = None
        self.invocation_id = ""
        self.guest: Any = None
        self.starting: asyncio.Task[Any] | None = None
        self.refreshing: asyncio.Task[None] | None = None
        self.refresh_again = False
        self.granted: dict[str, GrantValue] = {}  # until it stops, beside what policy grants
        self.stops = 0  # under way, by us
        self.silences = 0  # attempts to connect in a row, to a run that somebody else started, that failed

    def account_for(self, caller: Caller) -> str:
        """Give the account inside that the caller's apps run as."""
        return account_for(self.policy, caller)

    def menu(self) -> tuple[str, ...]:
        """Give the command inside that is its menu; empty where policy names none."""
        return self.policy.menu or ()

    def hints(self) -> tuple[str, ...]:
        """Give the names of variables of callers that policy lets in beside the usual."""
        return self.policy.hints

    def grants(self) -> dict[str, str]:
        """Give the granted level by kind of resource."""
        return self.policy.grants.texts() | {key: kinds()[key].text_of(value) for key, value in self.granted.items()}

    def grant_values(self, key: str) -> list[GrantValue]:
        """Give the grants of one kind: by policy, and until it stops."""
        return [self.policy.grants.value(key), *([self.granted[key]] if key in self.granted else [])]

    def device_levels(self) -> dict[str, str]:
        """Give the levels of devices that policy grants: what is granted until it stops ends by itself."""
        levels = {key: self.policy.grants.level(key) for key in device_kinds()}
        return {key: level for key, level in levels.items() if level != "none"}

    @property
    def is_outdated(self) -> bool:
        """Whether NixOS declares another system for it than it says to run: that comes with a restart."""
        running = self.guest.system if self.guest is not None else ""
        if not running:
            return False
        declared = declared_system(self.machine)
        return bool(declared and declared != running)

    def note_problem(self, error: IsodError | None) -> None:
        """Remember a failure, or that there is none."""
        self._problem = error

    @property
    def problem(self) -> IsodError | None:
        """The last failure, if there was one."""
        return self._problem

    @property
    def has_problem(self) -> bool:
        """Whether there is a failure to tell."""
        return self._problem is not None

    def problem_for(self, caller: Caller) -> tuple[str, str]:
        """Give name and text of the last failure as the caller may read it; both empty without one."""
        problem = self._problem
        return (problem.name, problem.text_for(is_root=caller.is_root)) if problem else ("", "")
