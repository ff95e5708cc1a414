"""What checks look at: facts that were read beforehand, so that each check is a pure function."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from isod.device_ports import UnmetDevices
from isod.nspawn_root import root_directory
from isod.policy import ContainerPolicy
from isod.policy_view import PolicyView
from isod.ports import Account, Caller, LiveSession, UnitSettings
from isod.survey_ports import Inside, Places
from isod_contract.errors import IsodError


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What isod knows of the host beyond what everybody can read."""

    caller: Caller
    hints: Mapping[str, str]
    session: LiveSession | None
    policy: PolicyView = field(default_factory=PolicyView)
    wayland_levels: frozenset[str] = frozenset()  # of the containers that the caller may see


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningFacts:
    """What was read in a running container."""

    uid_shift: int
    account: Account | None
    other_owner: str = ""  # the host's login user who has the account's uid, if that is not the caller
    has_logind: bool = True
    dropped_locales: tuple[str, ...] = ()  # NAME=VALUE that name no locale of the container
    unknown_terminal: tuple[str, str] | None = None  # the caller's, and what is told in place of it: "" for nothing
    missing_sockets: tuple[str, ...] = ()  # attached displays that are not there inside
    inside: Inside
    places: Places = field(default_factory=Places)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """One container, for one caller."""

    name: str
    machine: str
    unit: str
    policy: ContainerPolicy
    caller: Caller
    account_name: str
    grants: Mapping[str, str]
    settings: UnitSettings
    problem: IsodError | None = None  # of its last start
    session: LiveSession | None = None
    display_problems: tuple[IsodError, ...] = ()
    running: RunningFacts | None = None  # None: it does not run, or can't be reached
    silence: str = ""  # why nothing could be read in it, though it runs
    unmet: UnmetDevices = field(default_factory=UnmetDevices)
    lack: str = ""  # what keeps it from booting, as its files tell while it is stopped

    @property
    def inside(self) -> str:
        """Give what the administrator puts before a command so that it runs inside as root."""
        return f"isoctl run root@{self.name}"

    @property
    def root(self) -> str:
        """Give where its files are on the host, as its nspawn was told, or as systemd-nspawn(1) finds them."""
        return root_directory(self.settings.command, self.machine)
