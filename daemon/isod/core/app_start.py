"""The last step of a launch: an app's unit is made and started inside, on the caller's streams or a new terminal."""

import asyncio
import fcntl
import os
import struct
import termios
import time
from typing import Any

from isod.core import command, environment, terminal_types
from isod.core.app import App
from isod.core.app_unit import (
    EXEC_FAILED,
    not_inside,
    not_shared,
    stream_properties,
    unit_properties,
    why_not_started,
    working_directory,
)
from isod.core.apps import Apps
from isod.core.environment_file import EnvironmentFiles
from isod.core.launch_request import LaunchRequest
from isod.core.sessions import Sessions
from isod.directory_ports import CallersDirectories, HostDirectory
from isod.ports import Account, Caller, FdStore, Terminals
from isod_contract.errors import NotPermitted, Unsupported
from isod_contract.options import RunOptions
from isod_contract.states import AppState
from isod_kernel import untrusted_fds

_ROWS, _COLUMNS = 24, 80  # where the caller knows no better
_TIOCGPTPEER, _TIOCGPTN = 0x5441, 0x80045430  # ioctl_tty(2)
_NOT_EXECUTED = (126, 127)  # as shells say it (sh(1))
_COMMAND_SEC, _COMMAND_LOOK_SEC, _COMMAND_LOOK_MOST_SEC = 3.0, 0.005, 0.1


def stop_if_wanted(app: App) -> None:
    """Raise NotPermitted if the caller left while polkit or the boot was waited for: nothing must start then."""
    if app.stop_wanted or app.ended:
        raise NotPermitted(reason="the caller left before the app started")


def _window_size(options: RunOptions) -> bytes:
    """Give the size of a new terminal as TIOCSWINSZ takes it (tty_ioctl(4)); without pixels where they are unknown."""
    rows, columns = options.rows or _ROWS, options.columns or _COLUMNS
    return struct.pack("HHHH", rows, columns, options.pixel_width or 0, options.pixel_height or 0)


class AppStarter:
    """Starts apps in containers that are ready for them."""

    def __init__(
        self,
        *,
        apps: Apps,
        terminals: Terminals,
        sessions: Sessions,
        store: FdStore,
        environments: EnvironmentFiles,
        directories: CallersDirectories,
    ) -> None:
        """Take the parts."""
        self._directories = directories
        self._environments = environments
        self._apps = apps
        self._terminals = terminals
        self._sessions = sessions
        self._store = store

    def locate(self, directory_fd: int, caller: Caller) -> HostDirectory:
        """Take note of where a caller's directory is; owns the descriptor. Raises InvalidArgument."""
        return self._directories.locate(directory_fd, caller.pid)

    def expect(self, request: LaunchRequest) -> None:
        """Be told of a start that will come: what it needs may take a moment to be there."""
        if request.options.terminal:
            self._terminals.expect_terminal()

    async def start(
        self, app: App, request: LaunchRequest, guest: Any, account: Account, rule: str, display: dict[str, str]
    ) -> None:
        """Start an app for an account inside, with a terminal if that is asked for, and wait until it runs.

        `rule` is by what it was allowed, for the audit; `display` are the variables of its displays. Raises
        StartFailed, InvalidArgument, NotPermitted (the caller left), ContainerGone, LimitExceeded.
        """
        options, policy, name = request.options, request.container.policy, request.container.name
        variables, fallbacks = await self._variables(request, guest, account, display)
        gone = [variable for variable in policy.unset if variable not in variables]
        app.record.lends_streams = request.lends_streams
        argv = command.wrap(request.argv, policy.wrapper, policy.wrapper_shell)
        if options.terminal:
            terminal = await self._make_terminal(app, request, guest, account)
            argv = command.on_terminal(argv, terminal, name) if terminal else argv
        use_login = policy.login_shell if options.login_shell is None else options.login_shell
        # Nobody reads what a detached app's shell says, so isod must see whether that found the command.
        mark = f"isoctl-{app.record.id}" if app.record.detached else ""
        make = command.login if use_login else command.plain
        start = make(argv, variables, account, mark, name, fallbacks=fallbacks, unset=gone)
        await self._check_paths(app, request, guest, account)
        # After the terminal is made: this state is what a caller waits for to ask for it.
        self._apps.set_state(app, AppState.STARTING)
        asked, unshared = await self._directory(request, guest)
        directory = working_directory(asked, account)
        streams, fds = stream_properties(request.streams)
        app.record.stop_timeout_usec = policy.stop_timeout_sec * 1_000_000
        properties = unit_properties(app.record, start, account, directory)
        # What may take long comes before the record: of an app that is on record as started and never was, isod's next
        # start could only say that it failed. Until then isoctl asks again.
        held = self._environments.property_for(request.container, guest, app.record.id, start.environment)
        async with held as environment_property:
            app.record.invocation_id = guest.invocation_id
            app.record.running = True
            app.record.untold_launch = {
                **request.told(app, account.name),
                "pid": request.caller.pid,
                "caller_unit": request.caller.unit,
                "rule": rule,
                "environment": sorted(variables),
            }
            # Record and match before the start: an app that ends at once, or an isod that does, loses nothing.
            if app.lifetime_fd is not None:
                app.record.stored = self._store.put(app.lifetime_fd)
            self._apps.save(app)
            app.unwatch = await guest.watch_unit(app.unit, lambda changed: self._changed(app, changed))
            stop_if_wanted(app)
            job = await guest.start_unit(app.unit, [*properties, environment_property, *streams], fds)
            request.close()
            self._apps.launched(app)
            await self._await_start(app, guest, job, (directory, unshared), mark)

    async def _variables(
        self, request: LaunchRequest, guest: Any, account: Account, display: dict[str, str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Give what is set whatever the profile says, and what is if nothing inside sets it."""
        options, policy = request.options, request.container.policy
        more = [entry for entry in options.more_hints or () if entry.partition("=")[0] in policy.hints]
        session, locales = self._sessions.environment(request.caller.uid), await guest.locales()
        variables = environment.assemble(
            session=session,
            hints=(*(options.hints or ()), *more),
            policy=policy.environment,
            unset=policy.unset,
            asked=options.environment or (),
            account=account,
            terminal=bool(options.terminal),
            display=display,
            refused=[key for key, level in request.container.grants().items() if level == "none"],
            locales=locales,
            terminal_type=await self._terminal_type(request, guest, account) if options.terminal else "",
        )
        # A zone of its own has what somebody chose: policy, the caller, the profile, the container's systemd.
        zone = "" if "TZ" in variables else await guest.time_zone()
        told = {**session, **dict(entry.split("=", 1) for entry in options.hints or ())}
        return variables, environment.fallbacks(variables=variables, told=told, locales=locales, zone=zone)

    async def _check_paths(self, app: App, request: LaunchRequest, guest: Any, account: Account) -> None:
        """Tell of a variable that leads to a path of the caller's which is not inside; the app starts all the same."""
        options = request.options
        asked = dict(entry.split("=", 1) for entry in options.environment or ())
        paths = {name: asked[name] for name in options.host_paths or () if asked.get(name, "").startswith("/")}
        missing = await self._directories.missing(guest, account.uid, paths) if paths else ()
        if missing and not app.record.problem[1]:
            self._apps.warn(app, not_inside(missing[0], request.container.name))

    async def _directory(self, request: LaunchRequest, guest: Any) -> tuple[str | None, str]:
        """Give the directory inside, and the host's that was meant, if that is not it. Raises InvalidArgument.

        Whether what was asked for is there is for the app's own rights to find out: isod's would tell of others' files.
        """
        asked, own = request.options.directory, request.host_directory
        if own is None:
            return asked, ""
        inside = await self._directories.path_inside(guest, own)
        if inside and inside.isprintable():
            return inside, ""
        if not asked:
            raise not_shared(own.path, request.container.name)
        return asked, own.path

    def _changed(self, app: App, changed: dict[str, Any]) -> None:
        # Whether 2xx is systemd's or the program's own exit code only the start job tells.
        if app.record.state is AppState.STARTING and changed.get("ExecMainStatus") in EXEC_FAILED:
            return
        if app.record.state is AppState.STARTING and app.record.detached:
            # That its shell runs does not mean that the command does; what is left out here is asked for later.
            changed = {key: value for key, value in changed.items() if key != "ActiveState"}
        self._unit_changed(app, changed)

    def _unit_changed(self, app: App, changed: dict[str, Any]) -> None:
        """Pass it on; an app that was over before anybody saw it run did run, unless its shell says otherwise."""
        is_over = bool(changed.get("ExecMainCode"))
        if is_over and app.record.detached and changed.get("ExecMainStatus") not in _NOT_EXECUTED:
            self._apps.set_state(app, AppState.RUNNING)
        self._apps.unit_changed(app, changed)

    async def _await_start(
        self, app: App, guest: Any, job: asyncio.Future[str] | None, directory: tuple[str, str], mark: str
    ) -> None:
        """Type=exec: the job is done when the program runs, failed when it could not be executed."""
        result = "lost" if job is None else await job
        if result != "done" and not app.record.main_ended:
            service = await guest.unit_properties(app.unit, "Service")
            status = service.get("ExecMainStatus", 0)
            await guest.reset_failed(app.unit)
            raise why_not_started(app, directory=directory, status=status, result=result)
        if mark:
            await self._await_command(app, guest, mark)
        self._apps.set_state(app, AppState.RUNNING)
        if mark or not app.record.main_ended:
            # The signal with a 2xx code may have come before the job's result and been put aside.
            service = await guest.unit_properties(app.unit, "Service")
            unit = await guest.unit_properties(app.unit, "Unit")
            if unit.get("LoadState") == "loaded":
                self._apps.unit_changed(app, {**service, **unit})
        if app.stop_wanted and not app.record.main_ended:
            await self._apps.stop(app)

    async def _await_command(self, app: App, guest: Any, mark: str) -> None:
        """Wait until the shell has become the command, or ended; for a bounded time, since a profile may take long."""
        deadline = time.monotonic() + _COMMAND_SEC
        pause_sec, looks_begun = _COMMAND_LOOK_SEC, 0
        while not app.record.main_ended and time.monotonic() < deadline:
            service = await guest.unit_properties(app.service, "Service")
            if service.get("ExecMainCode"):
                self._unit_changed(app, service)
                return
            commands = await guest.processes(app.service)
            main_pid = service.get("MainPID")
            if not isinstance(main_pid, int):
                return
            # Twice in a row: what is just ending has no command line either, until systemd tells of its end.
            looks_begun = 0 if mark in commands.get(main_pid, "") else looks_begun + 1
            if looks_begun > 1:
                return
            await asyncio.sleep(pause_sec)
            pause_sec = min(2 * pause_sec, _COMMAND_LOOK_MOST_SEC)

    async def _terminal_type(self, request: LaunchRequest, guest: Any, account: Account) -> str:
        """Give the terminal that is nearest to the caller's of those that the container knows; "" for none."""
        hints = dict(entry.split("=", 1) for entry in request.options.hints or ())
        asked = terminal_types.asked_type(self._sessions.environment(request.caller.uid), hints)
        known: str = await guest.terminal_type(account, terminal_types.nearest_types(asked)) if asked else ""
        return known

    async def _make_terminal(self, app: App, request: LaunchRequest, guest: Any, account: Account) -> str:
        """Make a pty of the container's own devpts; the streams that the caller gave none for are on its slave.

        Its slave is taken without a path. Gives "" where systemd makes it the app's controlling terminal, as it does
        of a terminal that is standard input; else the path inside of one that the account may open.
        """
        try:
            master = await self._terminals.open_terminal(request.container.machine, guest.root_fd, guest.uid_shift)
        except OSError as error:
            reason = f"container {request.container.name} gives none ({error.strerror or error})"
            raise Unsupported(what="a terminal", reason=reason) from None
        try:
            fcntl.ioctl(master, termios.TIOCSWINSZ, _window_size(request.options))
            slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            (number,) = struct.unpack("i", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))
        except BaseException:
            untrusted_fds.close(master)
            raise
        app.terminal_fd, app.slave_fd = master, slave
        on_it = [name for name, fd in request.streams.items() if fd is None]
        request.streams |= {name: os.dup(slave) for name in on_it}
        if "stdin" not in on_it:
            os.fchown(slave, guest.uid_shift + account.uid, -1)
        if on_it:
            # The app's systemd holds it. Without that a terminal that nobody has open is taken from its session.
            app.let_go_of_slave()
        return "" if "stdin" in on_it else f"/dev/pts/{number}"
