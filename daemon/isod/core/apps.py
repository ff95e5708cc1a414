"""All apps: followed through their units, and ended with their callers."""

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from typing import Any

from isod.core import stdio
from isod.core.adoption import let_go, move_out
from isod.core.app import App, boot_usec
from isod.core.background import Background
from isod.core.container import Container
from isod.core.containers import Containers
from isod.core.ended import WAITED_FOR_MAX, to_forget
from isod.core.events import Events
from isod.core.logs import open_journal, own_entries, running
from isod.core.patience import Patience
from isod.core.state_files import StateFiles
from isod.core.usage import usage_of_all
from isod.ports import AuditSink, Caller, FdStore
from isod_contract.errors import (
    ContainerGone,
    InvalidArgument,
    IsodError,
    NoSuchApplication,
    NotPermitted,
)
from isod_contract.names import is_app_id
from isod_contract.options import LogOptions
from isod_contract.records import EXIT, LAUNCH
from isod_contract.states import AppState

_TERMINAL_KEPT_SEC = 5.0
# A container that answers does so within milliseconds; nobody who ends apps in several waits longer for one.
_STOP_ALL_SEC = 1.0
_CLD_EXITED = 1  # sigaction(2), si_code


class Apps:
    """The apps that isod started and has not forgotten."""

    def __init__(
        self, *, containers: Containers, files: StateFiles, store: FdStore, audit: AuditSink, events: Events
    ) -> None:
        """Take the ports."""
        self._containers = containers
        self._files = files
        self._store = store
        self._audit = audit
        self._events = events
        self._apps: dict[str, App] = {}
        self._background = Background()
        self._stopping: set[str] = set()
        self.patience = Patience()
        containers.others_running = self._others_running

    def visible(self, caller: Caller) -> list[App]:
        """Give the caller's apps; all to root."""
        return [app for app in self._apps.values() if caller.is_root or app.record.owner_uid == caller.uid]

    def find(self, untrusted_id: str, caller: Caller) -> App:
        """Give one app. Raises NoSuchApplication, the same for somebody else's."""
        app = self._apps.get(untrusted_id) if is_app_id(untrusted_id) else None
        if app is None or not (caller.is_root or app.record.owner_uid == caller.uid):
            raise NoSuchApplication(app=untrusted_id[:64])
        return app

    def all(self) -> list[App]:
        """Give all apps, whoever owns them."""
        return list(self._apps.values())

    def known(self, app_id: str) -> App | None:
        """Give an app whoever owns it."""
        return self._apps.get(app_id)

    def starting(self) -> set[str]:
        """Give the ids of apps whose unit may be about to start."""
        return {app.record.id for app in self._apps.values() if app.record.running and not app.record.main_ended}

    def live_count(self, uid: int, container: str) -> int:
        """Count a uid's apps that run or wait; of this container also those of which it says that something is left."""
        own = (app for app in self._apps.values() if app.record.owner_uid == uid)
        return sum(1 for app in own if not app.ended or (app.record.running and app.record.container == container))

    def attached_count(self, uid: int) -> tuple[int, int]:
        """Count the apps that end with their callers, of all and of a uid: each is a descriptor in systemd's store."""
        owners = [app.record.owner_uid for app in self._apps.values() if not app.record.detached and not app.ended]
        return len(owners), owners.count(uid)

    def add(self, app: App) -> None:
        """Take a new app, forgetting those that are over and that nobody will ask about any more."""
        for known in to_forget(self._apps.values(), time.monotonic()):
            self.forget(known)
        self._apps[app.record.id] = app
        self._events.app_added(app)

    def take_over(self, app: App) -> None:
        """Take an app that an earlier isod recorded; those who know of it are not told again."""
        self._apps[app.record.id] = app

    def forget(self, app: App) -> None:
        """Remove an app and its record."""
        self.release_lifetime(app)
        self._apps.pop(app.record.id, None)
        self._files.remove(app.record.id)

    def set_state(self, app: App, state: AppState) -> None:
        """Move an app on."""
        if app.record.state is not state and not app.ended:
            app.record.state = state
            if state is AppState.RUNNING:
                self.save_quietly(app)  # what the next isod shows until it has asked
            self._events.app_changed(app, "State")

    def save(self, app: App) -> None:
        """Write the record. Raises NoSpace."""
        self._files.save(app.record)

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Run something for an app."""
        return self._background.spawn(work)

    # -- life time

    def hold_lifetime(self, app: App, fd: int) -> None:
        """End the app when the last writer of this pipe, which is isod's own, is gone."""
        app.lifetime_fd = fd
        asyncio.get_running_loop().add_reader(fd, self._lifetime_readable, app)

    def _lifetime_readable(self, app: App) -> None:
        # End of file, or data that nobody may send: both mean that the caller no longer keeps the app.
        self.release_lifetime(app)
        if not app.record.main_ended:
            self.spawn(self.stop(app))

    def release_lifetime(self, app: App) -> None:
        """Let go of the pipe."""
        self._drop_stored(app)
        if app.lifetime_fd is not None:
            asyncio.get_running_loop().remove_reader(app.lifetime_fd)
            os.close(app.lifetime_fd)
            app.lifetime_fd = None

    def _drop_stored(self, app: App) -> None:
        if app.record.stored:
            self._store.drop(app.record.stored)
        app.record.stored = ""

    def _note_end(self, app: App) -> None:
        """Keep the pipe of an app that is over only to know whether its caller is still there, and not of too many."""
        app.ended_sec = time.monotonic()
        self._drop_stored(app)
        waited_for = (known for known in self._apps.values() if known.ended and known.lifetime_fd is not None)
        if sum(known.record.owner_uid == app.record.owner_uid for known in waited_for) > WAITED_FOR_MAX:
            self.release_lifetime(app)

    # -- what the unit says

    def launched(self, app: App) -> None:
        """Record, once, that the app was started; an isod that is killed before leaves it to the next."""
        told, app.record.untold_launch = app.record.untold_launch, {}
        if not told:
            return
        self._audit.record(
            LAUNCH,
            uid=app.record.owner_uid,
            container=app.record.container,
            duration_usec=None if app.recovered else boot_usec() - app.record.started_boot_usec,
            **told,
        )
        self.save_quietly(app)

    def unit_changed(self, app: App, properties: dict[str, Any]) -> None:
        """Take PropertiesChanged of the app's unit, or all its properties; everything is untrusted."""
        record = app.record
        code, status = properties.get("ExecMainCode"), properties.get("ExecMainStatus")
        if not record.main_ended and isinstance(code, int) and isinstance(status, int) and code:
            if code == _CLD_EXITED:
                self.main_ended(app, exit_code=status & 0xFF, exit_signal=0)
            else:
                self.main_ended(app, exit_code=-1, exit_signal=status & 0x7F)
        active, sub = properties.get("ActiveState"), properties.get("SubState")
        if active == "active" and sub == "running":
            self.set_state(app, AppState.RUNNING)
        if record.main_ended and record.running and (sub in ("exited", "failed", "dead") or active == "failed"):
            self.spawn(let_go(self, app))

    def main_ended(self, app: App, *, exit_code: int, exit_signal: int, error: IsodError | None = None) -> None:
        """Record how the main process ended, tell it, once."""
        record = app.record
        if record.main_ended:
            return
        # The start's own answer may still wait to be read; the journal shall tell it first.
        self.launched(app)
        record.main_ended = True
        record.exit_code, record.exit_signal = exit_code, exit_signal
        changed = ["State", "ExitCode", "ExitSignal"]
        if error is not None:
            record.problem = (error.name, error.text)
            changed.append("Problem")
        record.state = AppState.EXITED
        self._audit.record(
            EXIT,
            uid=record.owner_uid,
            container=record.container,
            app=record.id,
            exit_code=exit_code,
            exit_signal=exit_signal,
            error=error.name if error else None,
            duration_usec=boot_usec() - record.started_boot_usec,
        )
        # After the journal has it, and with nothing awaited in between: told twice by a kill -9, never not at all.
        self.save_quietly(app)
        self._note_end(app)
        self._events.app_changed(app, *changed)
        self._events.app_exited(app)

    def save_quietly(self, app: App) -> None:
        """Write the record of an app that is not forgotten; what goes wrong is told as its problem."""
        if app.record.id in self._apps:
            try:
                self._files.save(app.record)
            except IsodError as error:
                app.record.problem = (error.name, error.text)

    def left_over(self, app: App) -> None:
        """Take note that what is left of the app runs in its scope from now on."""
        app.record.left_over = True
        self.save_quietly(app)
        self._events.app_changed(app, "Unit")

    def forget_unit(self, app: App) -> None:
        """Take note that nothing is left of the app's units."""
        app.record.running = False
        app.let_go_of_slave()
        if app.unwatch is not None:
            app.unwatch()
            app.unwatch = None
        if app.terminal_fd is not None:
            # What a fast program wrote is in there, and its caller may be about to ask for it.
            asyncio.get_running_loop().call_later(_TERMINAL_KEPT_SEC, _close_terminal, app)
        self.save_quietly(app)
        self._events.app_changed(app, "Running")
        self._events.app_removed(app)

    def warn(self, app: App, error: IsodError) -> None:
        """Say what is not as it should be about an app that starts all the same."""
        app.record.problem = (error.name, error.text)
        self._events.app_changed(app, "Problem")

    def fail(self, app: App, error: IsodError) -> None:
        """End an app whose launch did not succeed: no process ever ran, or nobody can know."""
        record = app.record
        if app.ended:
            return
        record.main_ended = True
        record.running = False
        record.state = AppState.FAILED
        record.problem = (error.name, error.text_for(is_root=record.owner_uid == 0))
        self._audit.record(
            EXIT,
            uid=record.owner_uid,
            container=record.container,
            app=record.id,
            exit_code=-1,
            exit_signal=0,
            error=error.name,
            outcome="failed",
        )
        self._note_end(app)
        self._events.app_changed(app, "State", "Problem")
        self.forget_unit(app)

    # -- containers

    def guest_of(self, app: App) -> Any:
        """Give the connection to the very container that the app was started in, None while there is none."""
        for container in self._containers.all():
            guest = container.guest
            if (container.unit, container.name) == (app.record.host_unit, app.record.container) and guest is not None:
                return guest if guest.invocation_id == app.record.invocation_id else None
        return None

    def _others_running(self, container: Container, caller: Caller) -> bool:
        return any(
            app.record.running and app.record.host_unit == container.unit and app.record.owner_uid != caller.uid
            for app in self._apps.values()
        )

    # -- what owners do

    async def signal(self, app: App, signum: int) -> None:
        """Send a signal to all processes of the app. Raises InvalidArgument, ContainerGone."""
        if not 1 <= signum <= signal.SIGRTMAX:
            raise InvalidArgument(argument="signal", reason=f"{signum} is not a signal")
        guest = self.guest_of(app)
        if guest is not None and app.record.running:
            for unit in app.units:
                await guest.kill_unit(unit, signum)
        elif not app.ended and signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
            await self.stop(app)

    async def stop(self, app: App) -> None:
        """End the app: TERM and HUP at once (SendSIGHUP=), KILL after TimeoutStopSec=.

        Raises ContainerGone where its container does not answer; then the app ends as soon as that does.
        """
        if not app.stop_wanted:
            app.record.stop_wanted = True
            # First on record: an isod that is killed here leaves it to the next.
            self.save_quietly(app)
        guest = self.guest_of(app)
        if guest is not None and app.record.running:
            try:
                async with self.patience.turn(app.record.host_unit):
                    await self._stop_units(app, guest)
            except ContainerGone:
                self._stop_later(app)
                raise
        elif not app.ended and not app.record.running:
            self.fail(app, NotPermitted(reason="the app was stopped before it started"))
            if app.launching is not None:
                # Nothing of it runs yet; what it waits for, above all a password prompt, is wanted no more.
                app.launching.cancel()

    async def _stop_units(self, app: App, guest: Any) -> None:
        if app.record.lends_streams and not app.record.main_ended:
            # The stop of its unit ends the main process alone. Each process gets one TERM, all at the same time.
            await move_out(self, app, guest, but_main=True)
        for unit in app.units:
            await guest.stop_unit(unit)

    async def stop_all(self, apps: Iterable[App]) -> list[App]:
        """End apps at once; gives those whose containers do not answer, which end as soon as these do."""
        stops = {self.spawn(self.stop(app)): app for app in apps}
        if not stops:
            return []
        await asyncio.wait(stops, timeout=_STOP_ALL_SEC)
        return [app for stop, app in stops.items() if not stop.done() or stop.exception() is not None]

    def _stop_later(self, app: App) -> None:
        if app.record.id not in self._stopping:
            self._stopping.add(app.record.id)
            self.spawn(self._keep_stopping(app))

    async def _keep_stopping(self, app: App) -> None:
        """Ask for the stop again until the container takes it, or the app is gone."""

        async def stop_again() -> None:
            guest = self.guest_of(app)
            # Without one it is followed again, or its record ended, when the container is known to live or not.
            if guest is not None:
                await self._stop_units(app, guest)

        try:
            await self.patience.insist(app.record.host_unit, stop_again, is_over=lambda: not app.record.running)
        finally:
            self._stopping.discard(app.record.id)

    def open_terminal(self, app: App) -> int:
        """Give the master of the app's terminal, once; the caller of this owns it. Raises NotPermitted."""
        fd, app.terminal_fd = app.terminal_fd, None
        if fd is None:
            raise NotPermitted(reason="the app has no terminal to hand over (now)")
        return fd

    async def open_log(self, app: App, options: LogOptions) -> int:
        """Give a pipe with what the app wrote to the container's journal. Raises ContainerGone, LimitExceeded."""
        guest = running(self.guest_of(app), app.record.container)
        # Matches of one field are alternatives (journalctl(1)).
        matches = [f"_SYSTEMD_UNIT={unit}" for unit in app.units_ever]
        return await open_journal(guest, app.record.owner_uid, options, matches, self._logs_most(app.record.owner_uid))

    async def open_container_log(self, container: Container, caller: Caller, options: LogOptions) -> int:
        """Give a pipe with what the caller's apps wrote (root: the whole journal)."""
        guest = running(container.guest, container.name)
        names = {app.record.user for app in self.visible(caller) if app.record.container == container.name}
        names |= {container.account_for(caller)}
        matches = [] if caller.is_root else await own_entries(guest, caller.uid, names)
        return await open_journal(guest, caller.uid, options, matches, self._logs_most(caller.uid))

    def _logs_most(self, uid: int) -> int:
        return self._containers.policy.settings.limits.of(uid).logs

    async def usage(self, container: Container, caller: Caller) -> list[dict[str, object]]:
        """Give processor time, memory and tasks of the caller's running apps. Raises ContainerGone."""
        if (guest := container.guest) is None:
            return []
        apps = [app for app in self.visible(caller) if app.record.running and self.guest_of(app) is guest]
        units = [app.unit for app in apps]
        values = await usage_of_all(guest, container.name, units, lambda: self.patience.turn(container.unit))
        return [{"app": app.record.id, **of_one} for app, of_one in zip(apps, values, strict=True)]


def _close_terminal(app: App) -> None:
    stdio.close_all(app.terminal_fd)
    app.terminal_fd = None
