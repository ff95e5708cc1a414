"""What passes between the core and the outside: values, and the Protocols that adapters fulfil."""

import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

from isod_contract.actions import Action
from isod_contract.records import Record


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a message: taken from the broker, never from arguments."""

    sender: str  # unique bus name; "" for isod itself
    uid: int
    user: str  # account name on the host; "" where there is none
    groups: frozenset[str] = field(default_factory=frozenset)  # group names on the host
    pid: int = 0
    unit: str = ""  # the unit that the sender's process is in
    interactive: bool = False  # the message allows interactive authorisation

    @property
    def is_root(self) -> bool:
        """Whether the caller is the host's root, who may do all."""
        return self.uid == 0


class HostSocket(NamedTuple):
    """The socket of a server of a user's on the host."""

    name: str  # in the directory where such sockets are
    fd: int  # O_PATH
    identity: tuple[int, int]  # device and inode


@dataclass(frozen=True, slots=True)
class LiveSession:
    """One user's live session, as their isod-session says it is; believed for that user only."""

    caller: Caller  # isod-session, as it was when it registered
    environment: Mapping[str, str]
    wayland: str  # one of isod_contract.options.WAYLAND_MODES; "" without a compositor
    exposed: tuple[str, ...] = ()  # Wayland interfaces beyond windows and input that an app would reach
    sockets: Mapping[str, HostSocket] = field(default_factory=dict)  # of their servers, by their names inside
    x11_cookie: bytes = field(default=b"", repr=False)  # what their X server knows its clients by
    has_x_server: bool = True  # whether they can have one for a container alone


@dataclass(frozen=True, slots=True)
class Directory:
    """What isod shows one user of the host in one container, at /run/isoctl/UID inside."""

    machine: str
    uid: int  # of the user, on the host
    owner: tuple[int, int]  # uid and gid of their account inside, as the host numbers them


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """What a systemd manager says of one unit (org.freedesktop.systemd1(5))."""

    load_state: str
    active_state: str
    sub_state: str
    invocation_id: str  # hexadecimal; "" while inactive
    result: str = ""


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """What machined says of one machine (org.freedesktop.machine1(5))."""

    name: str
    unit: str
    machine_class: str
    service: str
    leader_pid: int
    owner_uid: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """One line of a container's /etc/passwd, parsed from a bounded read."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSettings:
    """How systemd would run, or runs, a container's unit (org.freedesktop.systemd1(5))."""

    load_state: str
    active_state: str
    needs_reload: bool
    device_policy: str
    device_allow: tuple[tuple[str, str], ...]
    command: tuple[str, ...]  # argument vector of its nspawn, as it runs or would run


class AuditSink(Protocol):
    """Writes audit records; never blocks, never raises."""

    def record(self, kind: Record, **fields: object) -> None:
        """Write one record; field names in lower case become ISOCTL_<NAME>."""


class Answer(Enum):
    """What came of asking polkit; only YES allows anything."""

    YES = auto()
    NO = auto()  # a rule, a wrong password, or a session that is not active
    DISMISSED = auto()  # the user closed the prompt
    UNANSWERED = auto()  # the prompt was left open for too long
    NEEDS_QUESTION = auto()  # the call allows no prompt, or no agent is there to show one
    NO_POLKIT = auto()
    CALLER_GONE = auto()


class Authority(Protocol):
    """Asks polkit."""

    async def check(self, caller: Caller, action: Action, details: Mapping[str, str]) -> Answer:
        """Tell whether polkit allows, with a prompt only if the caller is interactive; may raise LimitExceeded."""


# The result of a job that systemd refuses because it goes against one that it has (systemd1's own error for that).
DESTRUCTIVE = "destructive"


class HostUnits(Protocol):
    """The host's systemd, for container units. All raise HostSilent where it does not answer, unless told otherwise."""

    async def status(self, unit: str) -> UnitStatus:
        """Read a unit's state; load_state is `not-found` where there is none."""

    async def settings(self, unit: str) -> UnitSettings:
        """Read how a unit is set up, and what it runs as."""

    async def start(self, unit: str) -> str:
        """Queue a start and wait for its job; gives the job's result (`done`, `failed`, ...)."""

    async def stop(self, unit: str) -> str:
        """Queue a stop and wait for its job."""

    async def restart(self, unit: str) -> str:
        """Queue a restart and wait for its job."""

    async def watch(self, unit: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever the unit's state may have changed; gives the function that ends this."""

    async def has_booted(self, unit: str) -> bool:
        """Tell whether the unit's container says that its systemd has finished booting; it may lie or be silent."""

    async def unit_of_pidfd(self, pidfd: int) -> tuple[str, str]:
        """Give unit name and InvocationID of a process; raises IdentityMismatch where there is none."""

    async def start_transient(self, unit: str, properties: Sequence[tuple[str, str, Any]], fds: Sequence[int]) -> None:
        """Start a unit that is gone with its end; `h` values index `fds`. Raises Unsupported, TimeoutError."""

    async def slice_of(self, unit: str) -> str:
        """Give the slice that a loaded unit is in."""

    async def allow_devices(self, unit: str, entries: Sequence[tuple[str, str]], *, only: bool) -> None:
        """Add entries to DeviceAllow until the next boot, or make them all that it holds; raises Unsupported."""


class UnitLog(Protocol):
    """What the host's journal has of a unit."""

    async def last_lines(self, unit: str, since_usec: int) -> Sequence[str]:
        """Give its last lines since then (microseconds since 1970), fit to be shown; never fails."""


class Machines(Protocol):
    """The host's machined."""

    async def status(self, machine: str) -> MachineStatus | None:
        """Read a machine's registration, None where there is none."""

    async def terminate(self, machine: str) -> None:
        """End what is left of a machine."""

    async def uid_shift(self, machine: str) -> int:
        """Give the host uid that the machine's root is (MapFromMachineUser); 0 without a user namespace."""

    async def maps(self, machine: str, uid: int) -> bool:
        """Tell whether a uid inside is one of the host's."""


class Terminals(Protocol):
    """Makes terminals in containers' own devpts (isod-helper)."""

    def expect_terminal(self) -> None:
        """Be told that a terminal will be asked for soon."""

    async def open_terminal(self, machine: str, root_fd: int, uid_shift: int) -> int:
        """Give the master of a new terminal of the container with this root. Raises OSError."""


class Guest(Protocol):
    """One running container, reached through its own systemd; everything that comes from it is untrusted."""

    unit: str
    invocation_id: str
    root_fd: int
    pidfd: int
    uid_shift: int
    uid_count: int  # uids below this one are there inside
    system: str  # the one that it says to run, if it is NixOS
    offload: Any  # runs blocking work on the container's files, with a deadline
    ended_sessions: set[int]  # uids inside whose sessions isod has ended; what is left of one looks like one

    @property
    def closed(self) -> bool:
        """Whether the connection is lost."""

    @property
    def logins(self) -> "Logins":
        """Its logind."""

    async def look_at_system(self) -> None:
        """Note which that is."""

    async def locales(self) -> frozenset[str]:
        """Give the names of the locales inside, as `locale -a` writes them; none where that can't be told."""

    async def time_zone(self) -> str:
        """Give the host's time zone if the container shows another one and knows that one; else ""."""

    async def terminal_type(self, account: Account, names: Iterable[str]) -> str:
        """Give the first of these terminals that programs of the account know; "" for none."""

    async def applications(self, account: Account, languages: Sequence[str], desktops: Sequence[str]) -> Sequence[Any]:
        """Read the desktop entries inside, for a menu in these languages on these desktops."""

    async def account(self, name: str) -> Account | None:
        """Look up an account inside."""

    async def start_unit(
        self, unit: str, properties: Sequence[tuple[str, str, Any]], fds: Sequence[int] = ()
    ) -> Awaitable[str] | None:
        """Queue the start of a transient unit; properties are (name, signature, value), `h` values index `fds`."""

    async def unit_properties(self, unit: str, interface: str) -> dict[str, Any]:
        """Read all properties of a unit's interface (`Unit`, `Service`)."""

    async def watch_unit(self, unit: str, changed: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Pass on each PropertiesChanged of the unit; gives the function that ends it."""

    async def call_manager(self, member: str, signature: str, body: Sequence[Any]) -> list[Any]:
        """Call a method of the guest's org.freedesktop.systemd1.Manager."""

    def on_closed(self, closed: Callable[[], None]) -> None:
        """Call back once when the connection to the container is lost."""

    async def close(self) -> None:
        """Drop the connection and the root fd."""


class GuestConnector(Protocol):
    """Makes a checked connection to a container's own bus."""

    async def connect(self, machine: str, unit: str, invocation_id: str) -> Guest:
        """Connect; raises IdentityMismatch, UnsafePath, ContainerGone, StartFailed (no bus yet), Unsupported (none)."""


class Files(Protocol):
    """A container's files, by fds only; blocking, so called through the guest's offload."""

    def prepare_nix_and_check(self, guest: Any, account: Account, container: str) -> bool:
        """Make the per-user nix directories where /nix is; tell whether the runtime directory is right."""

    def runtime_ready(self, guest: Any, account: Account, container: str) -> bool:
        """Tell whether the runtime directory and the session bus are there."""

    def make_runtime_directory(self, guest: Any, account: Account, container: str) -> None:
        """Make /run/user/UID by fd, for a container without logind."""

    def has_any(self, guest: Any, paths: Collection[str]) -> bool:
        """Tell whether any of these is there, as a process inside sees it."""


class LaunchFiles(Protocol):
    """Files that a container's systemd reads as it starts a unit, and nobody but its root can read."""

    def hold(
        self, run_fd: int, machine: str, name: str, data: bytes, root_uid: int
    ) -> contextlib.AbstractContextManager[None]:
        """Have one until the context ends; owns `run_fd`. Raises NoSpace, UnsafePath."""

    def sweep(self, keep: Collection[str]) -> None:
        """Remove what an earlier isod left, but for these names."""


class Directories(Protocol):
    """What containers see at /run/isoctl, on the host; see `isod.host.displays`. All of it may block for a moment."""

    def open_shown(self, machine: str, directory: str) -> int | None:
        """Open what a container sees as /run/isoctl (`run`) or /dev/dri (`dri`); None while it has not been made."""

    def is_seen(self, directory_fd: int, root_fd: int, machine: str, directory: str) -> bool:
        """Tell whether the container shows this directory there."""

    def is_free(self, root_fd: int, directory: str) -> bool:
        """Tell whether it can be shown there without hiding anything."""

    def ensure_directory(self, run_fd: int, directory: Directory) -> int:
        """Make a user's directory, and open it."""

    def listen(self, directory_fd: int, name: str, directory: Directory) -> tuple[int, tuple[int, int]]:
        """Listen on a new socket there; gives descriptor and identity of its file."""

    def identity(self, directory_fd: int, name: str, directory: Directory) -> tuple[int, int] | None:
        """Tell which file stands under a name, if it is a socket of the owner."""

    def ensure_place(self, directory_fd: int, name: str, directory: Directory) -> None:
        """Have an empty file under a name, for a mount over it."""

    def write(self, directory_fd: int, name: str, content: bytes, directory: Directory) -> None:
        """Have a file of the owner with this content; none without any."""

    def identity_inside(self, root_fd: int, uid: int, name: str) -> tuple[int, int] | None:
        """Tell which file the container sees under a user's name."""

    def remove(self, directory_fd: int, name: str) -> None:
        """Remove what stands under a name."""

    def remove_directory(self, run_fd: int, uid: int) -> None:
        """Remove a user's empty directory."""


@dataclass(frozen=True, slots=True)
class Login:
    """One login session of a person, as logind has it."""

    id: str
    uid: int


class Logins(Protocol):
    """A logind: the host's, or a container's, which may say anything."""

    async def uids(self) -> set[int] | None:
        """Give who has a session now; None where that can't be told."""

    async def has_session(self, uid: int) -> bool:
        """Tell whether a uid has a session that is open; not where that can't be told."""

    async def logins(self) -> Sequence[Login] | None:
        """Give the sessions of people; None where that can't be told."""

    async def watch(self, changed: Callable[[], None]) -> None:
        """Call back when a session has come or gone."""


class Mounter(Protocol):
    """Mounts inside running containers (isod-helper); all raise OSError."""

    async def attach_directory(self, machine: str, pidfd: int, uid_shift: int, directory: str = "run") -> None:
        """Show a container one of its directories: `run` at /run/isoctl, `dri` at /dev/dri."""

    async def attach_socket(self, pidfd: int, uid_shift: int, uid: int, name: str, source: tuple[str, int]) -> None:
        """Put a user's socket, by name in their runtime directory and O_PATH fd, at /run/isoctl/UID/NAME inside."""

    async def detach_socket(self, pidfd: int, uid: int, name: str) -> None:
        """Unmount it again."""


class FdStore(Protocol):
    """systemd's FD store of isod's own unit (sd_pid_notify_with_fds(3)): fds that outlive a restart."""

    def put(self, fd: int) -> str:
        """Store a duplicate of an fd; gives the name by which it comes back. Raises LimitExceeded."""

    def take(self, name: str) -> int | None:
        """Give back an fd that an earlier isod stored, once; None where there is none."""

    def drop(self, name: str) -> None:
        """Remove it from the store."""
