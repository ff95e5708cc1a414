"""What the bus side needs of the core, as Protocols, so that it can be tested without one.

Where a container or an app is handed back to the core the parameter is `Any`: it is the very object that the same
core gave before.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from isod.ports import Caller
from isod_contract.findings import Finding
from isod_contract.options import CheckOptions, ExplainOptions, HistoryFilter, LogOptions, RunOptions, SessionInfo


class ContainerView(Protocol):
    """A container, as far as it is shown on the bus."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def unit(self) -> str:
        """The systemd unit on the host."""

    @property
    def state(self) -> str:
        """One of isod_contract.states.ContainerState."""

    @property
    def is_outdated(self) -> bool:
        """Whether it runs another system than NixOS declares."""

    def problem_for(self, caller: Caller) -> tuple[str, str]:
        """Give error name and text of the last failure, both empty if there was none."""

    def account_for(self, caller: Caller) -> str:
        """Give the account inside that the caller's apps run as."""

    def hints(self) -> Sequence[str]:
        """Give the names of more variables of callers that apps get."""

    def menu(self) -> Sequence[str]:
        """Give the command inside that is its menu; empty where the host's launcher is."""

    def grants(self) -> Mapping[str, str]:
        """Give the granted level by kind of resource."""


class AppView(Protocol):
    """An app, as far as it is shown on the bus."""

    @property
    def id(self) -> str:
        """128 bits in hexadecimal."""

    @property
    def container(self) -> str:
        """The container's name."""

    @property
    def owner_uid(self) -> int:
        """Whose it is."""

    @property
    def state(self) -> str:
        """One of isod_contract.states.AppState."""

    @property
    def exit_code(self) -> int:
        """Exit code, -1 while there is none."""

    @property
    def exit_signal(self) -> int:
        """Signal that ended it, 0 for none."""

    @property
    def problem(self) -> tuple[str, str]:
        """Error name and text of a failure or a warning."""

    @property
    def grants(self) -> Mapping[str, str]:
        """Resources that were attached for it, with their levels."""

    @property
    def unit(self) -> str:
        """The transient unit inside the container."""

    @property
    def user(self) -> str:
        """The account inside."""

    @property
    def argv(self) -> Sequence[str]:
        """The argument vector."""

    @property
    def started_usec(self) -> int:
        """When it was asked for, microseconds since 1970."""

    @property
    def running(self) -> bool:
        """Whether any process of it is left."""

    @property
    def detached(self) -> bool:
        """Whether it outlives its caller."""


class ContainerService(Protocol):
    """isod.core.containers.Containers."""

    def visible(self, caller: Caller) -> Sequence[ContainerView]:
        """Give the containers that the caller may see."""

    def find(self, untrusted_name: str, caller: Caller) -> ContainerView:
        """Give one container; raises NoSuchContainer also for one that the caller may not see."""

    async def start(self, container: Any, caller: Caller) -> None:
        """Start; decides, asks and audits itself."""

    async def stop(self, container: Any, caller: Caller, *, force: bool) -> None:
        """Stop; raises Busy, NotPermitted."""

    async def restart(self, container: Any, caller: Caller, *, force: bool) -> None:
        """Stop and start; raises Busy, NotPermitted."""

    async def grant(self, container: Any, caller: Caller, asked: Mapping[str, str]) -> None:
        """Grant resources until it stops; decides, asks and audits itself."""

    async def revoke(self, container: Any, caller: Caller, keys: Sequence[str]) -> None:
        """Take that back."""

    async def open_log(self, container: Any, caller: Caller, options: LogOptions) -> int:
        """Give the read end of a pipe."""

    def attachments(self, container: Any, caller: Caller) -> Sequence[Mapping[str, str]]:
        """Give what of the host is reachable in it now, as far as the caller may know."""

    async def open_display(self, container: Any, caller: Caller) -> Mapping[str, int]:
        """Give the caller's listening sockets by resource; raises NoSession, ContainerGone."""

    def render_nodes(self, container: Any) -> Sequence[str]:
        """Give the devices of graphics that it is granted."""

    async def start_x_server(self, container: Any, caller: Caller, control: int | None) -> None:
        """Have the host run its X server for the caller; owns the descriptor; raises NoSession, NotGranted."""

    async def stop_x_server(self, container: Any, caller: Caller) -> None:
        """End that."""

    async def applications(
        self, container: Any, caller: Caller, hints: Sequence[str] | None
    ) -> Sequence[Mapping[str, object]]:
        """Give what a menu shows, for a caller with these variables; raises ContainerGone."""

    async def usage(self, container: Any, caller: Caller) -> Sequence[Mapping[str, object]]:
        """Give what the caller's apps use."""


class CheckService(Protocol):
    """isod.core.inspect.Inspector."""

    async def host(self, caller: Caller, options: CheckOptions) -> Sequence[Finding]:
        """Give what is wrong with the host."""

    async def container(self, container: Any, caller: Caller, options: CheckOptions) -> Sequence[Finding]:
        """Give what is wrong with a container; raises ContainerGone."""


class AppService(Protocol):
    """isod.core.apps.Apps."""

    def visible(self, caller: Caller) -> Sequence[Any]:
        """Give the caller's apps, each an AppView; all to root."""

    def find(self, untrusted_id: str, caller: Caller) -> Any:
        """Give one AppView; raises NoSuchApplication also for somebody else's."""

    async def signal(self, app: Any, signum: int) -> None:
        """Send a signal to all its processes."""

    async def stop(self, app: Any) -> None:
        """End it."""

    def open_terminal(self, app: Any) -> int:
        """Give the master side of its terminal, once."""

    async def open_log(self, app: Any, options: LogOptions) -> int:
        """Give the read end of a pipe."""


class LaunchService(Protocol):
    """isod.core.launch.Launcher."""

    def launch(self, caller: Caller, container: Any, argv: tuple[str, ...], options: RunOptions) -> Any:
        """Begin a launch; owns the descriptors in `options` from here on, also if it raises."""


class SessionService(Protocol):
    """isod.core.sessions.Sessions."""

    def register(self, caller: Caller, session: SessionInfo) -> None:
        """Take note of the sender's live session."""

    def forget(self, sender: str) -> None:
        """Drop the session of a sender that left the bus."""


Explain = Callable[[Any, str, Caller, ExplainOptions], Awaitable[Mapping[str, object]]]
"""(container, action, caller, options) -> the decision and its rule."""

Reload = Callable[[Caller, bool], Awaitable[Sequence[Mapping[str, object]]]]
"""(caller, dry run) -> what changes."""

ReadHistory = Callable[[Caller, HistoryFilter], Awaitable[Sequence[Mapping[str, object]]]]
"""(caller, filter) -> audit records with the fields of isod_contract.records.HISTORY_FIELDS, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All that the objects on the bus call."""

    containers: ContainerService
    apps: AppService
    launcher: LaunchService
    sessions: SessionService
    checks: CheckService
    explain: Explain
    reload: Reload
    read_history: ReadHistory
    features: tuple[str, ...] = ()
