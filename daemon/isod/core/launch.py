"""A launch, step by step: decide, start the container, prepare it, start the app."""

import asyncio
import contextlib
import logging
import secrets
from typing import Any

from isod.authorise import Verb
from isod.core import environment, stdio
from isod.core.activation import Activation
from isod.core.app import App, AppRecord
from isod.core.app_start import AppStarter, stop_if_wanted
from isod.core.apps import Apps
from isod.core.container import Container
from isod.core.containers import Containers
from isod.core.devices import Devices
from isod.core.host_users import login_user
from isod.core.launch_request import LaunchRequest
from isod.core.prepare import Prepare
from isod.core.queue import LaunchQueue
from isod.core.reconcile import Reconciler
from isod.core.sessions import Sessions
from isod.ports import Account, Caller
from isod.settings import Limits
from isod.shortage import shortage_of
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

_STREAMS = ("stdin", "stdout", "stderr")


class Launcher:
    """Starts apps; at most so many of a uid at once in a container, the others wait in their order."""

    def __init__(
        self,
        *,
        containers: Containers,
        apps: Apps,
        prepare: Prepare,
        reconciler: Reconciler,
        devices: Devices,
        activation: Activation,
        starter: AppStarter,
        sessions: Sessions,
    ) -> None:
        """Take the parts."""
        self._containers = containers
        self._apps = apps
        self._prepare = prepare
        self._reconciler = reconciler
        self._devices = devices
        self._activation = activation
        self._starter = starter
        self._sessions = sessions
        self._queue = LaunchQueue(self._limits)

    def launch(self, caller: Caller, container: Container, argv: tuple[str, ...], options: RunOptions) -> App:
        """Begin a launch and answer at once; the app's state tells the rest.

        Owns the descriptors in `options`, also when it raises. Raises LimitExceeded, UnsafeFd, InvalidArgument.
        """
        streams = {name: getattr(options, name) for name in _STREAMS}
        lifetime, directory_fd = options.lifetime, options.directory_fd
        host_directory = None
        try:
            app = self._known(caller, container, options.id)
            if app is not None:
                stdio.close_all(*streams.values(), lifetime, directory_fd)
                return app
            environment.check_asked(options.environment or (), container.policy.grants)
            for name, fd in streams.items():
                if fd is not None and not stdio.check(fd, name, reads=name == "stdin"):
                    stdio.close_all(fd)
                    streams[name] = -1
            if directory_fd is not None:
                # Owns it from now on, also when it raises.
                given, directory_fd = directory_fd, None
                host_directory = self._starter.locate(given, caller)
            if lifetime is not None:
                lifetime = stdio.own_lifetime(lifetime)
            self._check_count(caller.uid, container.name, attached=lifetime is not None)
            turn = self._queue.join((caller.uid, container.name))
        except BaseException:
            stdio.close_all(*(fd for fd in streams.values() if fd != -1), lifetime, directory_fd)
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
        request = LaunchRequest(caller, container, argv, options, streams, host_directory)
        app.launching = self._apps.spawn(self._run(app, request, turn))
        # Here and not in the task: one that is cancelled before its first step runs none of its code.
        app.launching.add_done_callback(lambda _: self._launched(app, request, turn))
        return app

    def _launched(self, app: App, request: LaunchRequest, turn: asyncio.Future[None]) -> None:
        app.launching = None
        request.close()
        self._queue.leave((request.caller.uid, request.container.name), turn)

    def _known(self, caller: Caller, container: Container, app_id: str | None) -> App | None:
        """Give the app of a repeated call. Raises InvalidArgument for an id that means something else."""
        app = self._apps.known(app_id) if app_id else None
        if app is not None and (app.record.owner_uid, app.record.container) != (caller.uid, container.name):
            raise InvalidArgument(argument="id", reason="taken by another app; use a random one")
        return app

    def _limits(self, uid: int) -> Limits:
        return self._containers.policy.settings.limits.of(uid)

    def _check_count(self, uid: int, container: str, *, attached: bool) -> None:
        most = self._limits(uid).apps
        if self._apps.live_count(uid, container) >= most:
            raise LimitExceeded(reason=f"{most} apps of uid {uid} are running; end one")
        if attached:
            of_all, own = self._apps.attached_count(uid)
            reserved = limits.ATTACHED_APPS_RESERVED if own < limits.ATTACHED_APPS_FEW else 0
            if of_all >= limits.ATTACHED_APPS_MAX + reserved:
                raise LimitExceeded(reason=f"{of_all} apps of all users end with their callers; use --detach")

    async def _run(self, app: App, request: LaunchRequest, turn: asyncio.Future[None]) -> None:
        try:
            await turn
            await self._steps(app, request)
        except IsodError as error:
            self._apps.fail(app, error)
        except TimeoutError:
            self._apps.fail(app, StartFailed(container=app.record.container, reason="no answer from inside in time"))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not leave the caller waiting for ever
            short = shortage_of(error)
            if short is not None:
                _log.warning("launch.short", extra={"app": app.record.id, "reason": str(error)})
                self._apps.fail(app, short)
                return
            incident = secrets.token_hex(8)
            _log.exception("launch.failed", extra={"incident": incident, "app": app.record.id})
            self._apps.fail(app, Internal(incident=incident))

    async def _steps(self, app: App, request: LaunchRequest) -> None:
        caller, container = request.caller, request.container
        stop_if_wanted(app)
        rule = await self._authorise(app, request, app.record.user)
        stop_if_wanted(app)
        self._starter.expect(request)
        guest = await self._running(app, container, caller)
        try:
            account, display = await self._made_ready(app, request, guest)
        except ContainerGone:
            if not guest.closed:
                raise
            # It was going down, by whatever was done inside: what was asked for is an app in one that runs.
            guest = await self._running(app, container, caller)
            account, display = await self._made_ready(app, request, guest)
        stop_if_wanted(app)
        try:
            async with asyncio.timeout(limits.GUEST_START_TIMEOUT_SEC):
                await self._starter.start(app, request, guest, account, rule, display)
        except (TimeoutError, ContainerGone) as error:
            # It may start yet, after its end was told.
            self._apps.spawn(_stop_late(guest, app.unit))
            if isinstance(error, TimeoutError):
                reason = f"it does not answer within {limits.GUEST_START_TIMEOUT_SEC:.0f} s"
                raise StartFailed(container=container.name, reason=reason) from None
            raise

    async def _running(self, app: App, container: Container, caller: Caller) -> Any:
        if container.guest is None:
            self._apps.set_state(app, AppState.STARTING_CONTAINER)
        guest = await self._containers.ensure_running(container, caller)
        self._apps.set_state(app, AppState.PREPARING)
        return guest

    async def _made_ready(self, app: App, request: LaunchRequest, guest: Any) -> tuple[Account, dict[str, str]]:
        account = await self._account(guest, app, request)
        await self._prepare.run(guest, account, request.container.name)
        await self._devices.arrive(request.container)
        app.record.grants = request.container.device_levels()
        return account, await self._display(app, request, guest, account)

    async def _display(self, app: App, request: LaunchRequest, guest: Any, account: Account) -> dict[str, str]:
        """Give the variables of the displays that the app gets.

        Who has none gets none, unless they ask. Without one the app starts all the same, unless it is required.
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
            told = environment.session_variables(display, session, request.container.policy.unset)
            self._activation.show(request.container, guest, account, told)
        return display

    async def _authorise(self, app: App, request: LaunchRequest, account: str) -> str:
        names = [entry.partition("=")[0] for entry in request.options.environment or ()]
        told = {**request.told(app, account), "environment": names}
        return await self._containers.authorise(request.container, request.caller, Verb.RUN, account=account, told=told)

    async def _account(self, guest: Any, app: App, request: LaunchRequest) -> Account:
        """Find the account inside, and refuse one that is another login user of the host. Raises NotPermitted."""
        name = app.record.user
        account: Account | None = await guest.account(name) if name else None
        if account is None:
            raise NotPermitted(
                reason=f"container {app.record.container} has no account {name!r}; add it (`isoctl doctor "
                f"{app.record.container}` says how), or name another by `user` in its policy"
            )
        if account.uid >= guest.uid_count:
            raise NotPermitted(
                reason=f"account {name!r} in container {app.record.container} has uid {account.uid}, and its user "
                f"namespace ends at {guest.uid_count - 1}; give it a lower one there, or set `user`"
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


async def _stop_late(guest: Any, unit: str) -> None:
    with contextlib.suppress(IsodError):
        await guest.stop_unit(unit)


def _has_display(options: RunOptions) -> bool:
    """Tell whether the caller has a display; what comes by way of isod-session is part of a session."""
    hinted = {entry.partition("=")[0] for entry in options.hints or ()}
    return bool(options.via) or not hinted.isdisjoint(("WAYLAND_DISPLAY", "DISPLAY"))
