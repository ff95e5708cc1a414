"""A launch, step by step: decide, start the container, prepare it, start the app, hand over its terminal."""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import struct
import termios
from dataclasses import dataclass
from typing import Any

from isod.authorise import Verb
from isod.core import command, environment, stdio
from isod.core.activation import Activation
from isod.core.app import App, AppRecord
from isod.core.app_unit import EXEC_FAILED, why_not_started, working_directory
from isod.core.apps import Apps
from isod.core.container import Container
from isod.core.containers import Containers
from isod.core.devices import Devices
from isod.core.host_users import login_user
from isod.core.prepare import Prepare
from isod.core.queue import LaunchQueue
from isod.core.reconcile import Reconciler
from isod.core.sessions import Sessions
from isod.ports import Account, Caller, FdStore, Machines
from isod.settings import Limits
from isod_contract import limits
from isod_contract.errors import (
    ContainerGone,
    Internal,
    InvalidArgument,
    IsodError,
    LimitExceeded,
    NotGranted,
    NotPermitted,
    StartFailed,
)
from isod_contract.options import RunOptions
from isod_contract.states import AppState

_log = logging.getLogger(__name__)

_TIOCGPTPEER = 0x5441  # ioctl_tty(2)
_STREAMS = ("stdin", "stdout", "stderr")


@dataclass(slots=True)
class _Request:
    caller: Caller
    container: Container
    argv: tuple[str, ...]
    options: RunOptions
    streams: dict[str, int | None]

    def close(self) -> None:
        stdio.close_all(*self.streams.values())
        self.streams = {}


class Launcher:
    """Starts apps; at most so many of a uid at once, the others wait in their order."""

    def __init__(
        self,
        *,
        containers: Containers,
        apps: Apps,
        prepare: Prepare,
        reconciler: Reconciler,
        devices: Devices,
        activation: Activation,
        machines: Machines,
        sessions: Sessions,
        store: FdStore,
    ) -> None:
        """Take the parts."""
        self._containers = containers
        self._apps = apps
        self._prepare = prepare
        self._reconciler = reconciler
        self._devices = devices
        self._activation = activation
        self._machines = machines
        self._sessions = sessions
        self._store = store
        self._queue = LaunchQueue(self._limits)

    def launch(self, caller: Caller, container: Container, argv: tuple[str, ...], options: RunOptions) -> App:
        """Begin a launch and answer at once; the app's state tells the rest.

        Owns the descriptors in `options`, also when it raises. Raises LimitExceeded, UnsafeFd, InvalidArgument.
        """
        streams = {name: getattr(options, name) for name in _STREAMS}
        lifetime = options.lifetime
        try:
            app = self._known(caller, container, options.id)
            if app is not None:
                stdio.close_all(*streams.values(), lifetime)
                return app
            environment.check_asked(options.environment or (), container.policy.grants)
            for name, fd in streams.items():
                if fd is not None and not stdio.check(fd, name, reads=name == "stdin"):
                    os.close(fd)
                    streams[name] = None if name == "stdin" else -1
            if lifetime is not None:
                stdio.check_lifetime(lifetime)
            self._check_count(caller.uid)
            turn = self._queue.join(caller.uid)
        except BaseException:
            stdio.close_all(*(fd for fd in streams.values() if fd != -1), lifetime)
            raise
        app = App(
            AppRecord(
                id=options.id or secrets.token_hex(16),
                container=container.name,
                host_unit=container.unit,
                machine=container.machine,
                owner_uid=caller.uid,
                user=options.user or container.account_for(caller),
                argv=argv,
                detached=lifetime is None,
            )
        )
        if lifetime is not None:
            self._apps.hold_lifetime(app, lifetime)
        self._apps.add(app)
        request = _Request(caller, container, argv, options, streams)
        app.launching = self._apps.spawn(self._run(app, request, turn))
        # Here and not in the task: one that is cancelled before its first step runs none of its code.
        app.launching.add_done_callback(lambda _: self._launched(app, request, turn))
        return app

    def _launched(self, app: App, request: _Request, turn: asyncio.Future[None]) -> None:
        app.launching = None
        request.close()
        self._queue.leave(request.caller.uid, turn)

    def _known(self, caller: Caller, container: Container, app_id: str | None) -> App | None:
        """Give the app of a repeated call. Raises InvalidArgument for an id that means something else."""
        app = self._apps.known(app_id) if app_id else None
        if app is not None and (app.record.owner_uid, app.record.container) != (caller.uid, container.name):
            raise InvalidArgument(argument="id", reason="taken by another app; use a random one")
        return app

    def _limits(self, uid: int) -> Limits:
        return self._containers.policy.settings.limits.of(uid)

    def _check_count(self, uid: int) -> None:
        most = self._limits(uid).apps
        if self._apps.live_count(uid) >= most:
            raise LimitExceeded(reason=f"{most} apps of uid {uid} are running; end one")

    async def _run(self, app: App, request: _Request, turn: asyncio.Future[None]) -> None:
        try:
            await turn
            await self._steps(app, request)
        except IsodError as error:
            self._apps.fail(app, error)
        except TimeoutError:
            self._apps.fail(app, StartFailed(container=app.record.container, reason="no answer from inside in time"))
        except Exception:  # noqa: BLE001 - a fault of ours must not leave the caller waiting for ever
            incident = secrets.token_hex(8)
            _log.exception("launch.failed", extra={"incident": incident, "app": app.record.id})
            self._apps.fail(app, Internal(incident=incident))

    async def _steps(self, app: App, request: _Request) -> None:
        caller, container = request.caller, request.container
        self._stop_if_wanted(app)
        rule = await self._authorise(app, request, app.record.user)
        self._stop_if_wanted(app)
        guest = await self._running(app, container, caller)
        try:
            account, display = await self._made_ready(app, request, guest)
        except ContainerGone:
            if not guest.closed:
                raise
            # It was going down, by whatever was done inside: what was asked for is an app in one that runs.
            guest = await self._running(app, container, caller)
            account, display = await self._made_ready(app, request, guest)
        self._stop_if_wanted(app)
        try:
            async with asyncio.timeout(limits.GUEST_START_TIMEOUT_SEC):
                await self._start(app, request, guest, account, rule, display)
        except (TimeoutError, ContainerGone):
            # It may start yet, after its end was told.
            self._apps.spawn(_stop_late(guest, app.unit))
            raise

    async def _running(self, app: App, container: Container, caller: Caller) -> Any:
        if container.guest is None:
            self._apps.set_state(app, AppState.STARTING_CONTAINER)
        guest = await self._containers.ensure_running(container, caller)
        self._apps.set_state(app, AppState.PREPARING)
        return guest

    async def _made_ready(self, app: App, request: _Request, guest: Any) -> tuple[Account, dict[str, str]]:
        account = await self._account(guest, app, request)
        await self._prepare.run(guest, account, request.container.name)
        await self._devices.arrive(request.container)
        app.record.grants = request.container.device_levels()
        return account, await self._display(app, request, guest, account)

    async def _display(self, app: App, request: _Request, guest: Any, account: Account) -> dict[str, str]:
        """Give the variables of the displays that the app gets.

        Who has none himself gets none, unless he asks. Without one the app starts all the same, unless it is required.
        """
        mode = request.options.display or "auto"
        if mode == "none" or (mode == "auto" and not _has_display(request.options)):
            return {}
        caller = request.caller
        problem: IsodError | None
        try:
            attached, problem = await self._reconciler.for_launch(request.container, guest, caller, account)
        except IsodError as error:
            attached, problem = {}, error
        if mode == "require" and not environment.has_screen(attached):
            reason = "its policy says none"
            raise problem or NotGranted(resource="wayland", container=request.container.name, reason=reason)
        if problem is not None:
            self._apps.warn(app, problem)
        granted = request.container.grants()
        app.record.grants |= {key: granted[key] for key in attached}
        display = environment.display_variables(attached, caller.uid)
        if display:
            session = self._sessions.environment(caller.uid)
            self._activation.show(guest, account, environment.session_variables(display, session))
        return display

    async def _authorise(self, app: App, request: _Request, account: str) -> str:
        names = [entry.partition("=")[0] for entry in request.options.environment or ()]
        told = {**_told(app, request, account), "environment": names}
        return await self._containers.authorise(request.container, request.caller, Verb.RUN, account=account, told=told)

    @staticmethod
    def _stop_if_wanted(app: App) -> None:
        # The caller may have left while polkit or the boot was waited for: nothing must start then.
        if app.stop_wanted or app.ended:
            raise NotPermitted(reason="the caller left before the app started")

    async def _account(self, guest: Any, app: App, request: _Request) -> Account:
        """Find the account inside, and refuse one that is another login user of the host. Raises NotPermitted."""
        name = app.record.user
        account: Account | None = await guest.account(name) if name else None
        if account is None:
            raise NotPermitted(
                reason=f"container {app.record.container} has no account {name!r}; add it, or set `user`"
            )
        if account.uid == 0 and name != "root":
            await self._authorise(app, request, "root")
        if not guest.uid_shift and account.uid not in (0, request.caller.uid) and not request.caller.is_root:
            owner = await asyncio.to_thread(login_user, account.uid)
            if owner:
                raise NotPermitted(
                    reason=f"account {name!r} in container {app.record.container} has uid {account.uid}, "
                    f"which on the host is {owner!r}; give it another uid, or use a user namespace"
                )
        return account

    async def _start(
        self, app: App, request: _Request, guest: Any, account: Account, rule: str, display: dict[str, str]
    ) -> None:
        options, policy = request.options, request.container.policy
        variables = environment.assemble(
            session=self._sessions.environment(request.caller.uid),
            hints=options.hints or (),
            policy=policy.environment,
            asked=options.environment or (),
            account=account,
            terminal=bool(options.terminal),
            display=display,
            refused=[key for key, level in request.container.grants().items() if level == "none"],
            locales=await guest.locales(),
        )
        argv = command.wrap(request.argv, policy.wrapper, policy.wrapper_shell)
        use_login = policy.login_shell if options.login_shell is None else options.login_shell
        start = (
            command.login(argv, variables, account.shell) if use_login else command.plain(argv, variables, account.name)
        )
        if options.terminal:
            await self._make_terminal(app, request)
        # After the terminal is made: this state is what a caller waits for to ask for it.
        self._apps.set_state(app, AppState.STARTING)
        directory = working_directory(options.directory, account)
        properties, fds = self._properties(app, request, start, account, directory)
        app.record.invocation_id = guest.invocation_id
        app.record.running = True
        app.record.untold_launch = {
            **_told(app, request, account.name),
            "pid": request.caller.pid,
            "caller_unit": request.caller.unit,
            "rule": rule,
            "environment": sorted(variables),
        }
        # Record and match before the start: an app that ends at once, or an isod that does, loses nothing.
        if app.lifetime_fd is not None:
            self._store.put(f"lifetime-{app.record.id}", app.lifetime_fd)
        self._apps.save(app)
        app.unwatch = await guest.watch_unit(app.unit, lambda changed: self._changed(app, changed))
        self._stop_if_wanted(app)
        job = await guest.start_unit(app.unit, properties, fds)
        request.close()
        self._apps.launched(app)
        await self._await_start(app, guest, job, directory)

    def _changed(self, app: App, changed: dict[str, Any]) -> None:
        # Whether 2xx is systemd's or the program's own exit code only the start job tells.
        if app.record.state is AppState.STARTING and changed.get("ExecMainStatus") in EXEC_FAILED:
            return
        self._apps.unit_changed(app, changed)

    async def _await_start(self, app: App, guest: Any, job: asyncio.Future[str] | None, directory: str) -> None:
        """Type=exec: the job is done when the program runs, failed when it could not be executed."""
        result = "lost" if job is None else await job
        if result != "done" and not app.record.main_ended:
            service = await guest.unit_properties(app.unit, "Service")
            status = service.get("ExecMainStatus", 0)
            await guest.reset_failed(app.unit)
            raise why_not_started(app, directory=directory, status=status, result=result)
        self._apps.set_state(app, AppState.RUNNING)
        if not app.record.main_ended:
            # The signal with a 2xx code may have come before the job's result and been put aside.
            service = await guest.unit_properties(app.unit, "Service")
            unit = await guest.unit_properties(app.unit, "Unit")
            if unit.get("LoadState") == "loaded":
                self._apps.unit_changed(app, {**service, **unit})
        if app.stop_wanted and not app.record.main_ended:
            await self._apps.stop(app)

    async def _make_terminal(self, app: App, request: _Request) -> None:
        """Make a pty of the container's own devpts; its slave, taken without a path, becomes the app's stdio."""
        master = await self._machines.open_terminal(request.container.machine)
        try:
            rows, columns = request.options.rows or 24, request.options.columns or 80
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except BaseException:
            os.close(master)
            raise
        app.terminal_fd = master
        request.close()
        request.streams = {"stdin": slave, "stdout": os.dup(slave), "stderr": os.dup(slave)}

    def _properties(
        self, app: App, request: _Request, start: command.Start, account: Account, directory: str
    ) -> tuple[list[tuple[str, str, Any]], list[int]]:
        """Give the transient unit's properties; callers name none of them."""
        timeout_usec = request.container.policy.stop_timeout_sec * 1_000_000
        properties: list[tuple[str, str, Any]] = [
            ("Description", "s", f"isoctl app {app.record.id[:12]} of uid {app.record.owner_uid}"),
            ("Type", "s", "exec"),
            ("ExitType", "s", "cgroup"),
            ("KillMode", "s", "control-group"),
            ("CollectMode", "s", "inactive"),
            ("RemainAfterExit", "b", True),
            ("IgnoreSIGPIPE", "b", False),
            ("SendSIGHUP", "b", True),
            ("OOMPolicy", "s", "continue"),
            ("TimeoutStopUSec", "t", timeout_usec),
            ("User", "s", account.name),
            ("WorkingDirectory", "s", directory),
            ("LogExtraFields", "aay", [f"ISOCTL_UID={app.record.owner_uid}".encode()]),
            ("SyslogIdentifier", "s", "isoctl-app"),
            ("Environment", "as", [f"{name}={value}" for name, value in start.environment.items()]),
            ("ExecStartEx", "a(sasas)", [[start.path, list(start.argv), ["no-env-expand"]]]),
        ]
        fds: list[int] = []
        for name, fd in request.streams.items():
            key = f"Standard{ {'stdin': 'Input', 'stdout': 'Output', 'stderr': 'Error'}[name] }"
            if fd is not None and fd >= 0:
                properties.append((f"{key}FileDescriptor", "h", len(fds)))
                fds.append(fd)
            elif name == "stdin" or fd == -1:
                properties.append((key, "s", "null"))
            else:
                properties.append((key, "s", "journal"))
        return properties, fds


async def _stop_late(guest: Any, unit: str) -> None:
    with contextlib.suppress(IsodError):
        await guest.stop_unit(unit)


def _has_display(options: RunOptions) -> bool:
    """Tell whether the caller has a display himself; what comes by way of isod-session is part of a session."""
    hinted = {entry.partition("=")[0] for entry in options.hints or ()}
    return bool(options.via) or not hinted.isdisjoint(("WAYLAND_DISPLAY", "DISPLAY"))


def _told(app: App, request: _Request, account: str) -> dict[str, Any]:
    """Give what every audit record about a launch holds of the request, with what isod-session says of its caller."""
    claim = request.options.via or {}
    told = {"app": app.record.id, "argv": list(request.argv), "user": account}
    return told | {f"claimed_{name}": value for name, value in claim.items()}
