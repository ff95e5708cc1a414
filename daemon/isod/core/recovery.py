"""Apps found again: after a restart of isod, and after the loss of a container's connection."""

import asyncio
from typing import Any

from isod.core.app import App
from isod.core.apps import Apps
from isod.core.container import Container
from isod.core.containers import Containers
from isod.core.state_files import StateFiles
from isod.ports import FdStore
from isod_contract.errors import ContainerGone, IsodError, StartFailed
from isod_contract.states import ENDED, ContainerState

_OVER = frozenset({ContainerState.STOPPED, ContainerState.FAILED})


class _NotThereError(Exception):
    """The container's systemd answers, and does not know the app."""


class Recovery:
    """Follows recorded apps again, and ends the records of those that nobody can ask about any more."""

    def __init__(self, *, containers: Containers, apps: Apps, files: StateFiles, store: FdStore) -> None:
        """Take the parts, and listen to containers that come and go."""
        self._containers = containers
        self._apps = apps
        self._files = files
        self._store = store
        containers.guest_ready = self._guest_ready
        containers.guest_lost = self._guest_lost

    def begin(self) -> set[tuple[str, str]]:
        """Take over what an earlier isod recorded, before containers are followed; gives name and unit of theirs."""
        for record in self._files.load_all():
            app = App(record)
            app.recovered = True
            if record.main_ended:
                record.stored = ""  # its name may be another's by now
            self._apps.take_over(app)
            if record.state not in ENDED and not record.invocation_id:
                # It was not started yet, and its caller's descriptors are gone with the earlier isod.
                reason = "isod was restarted during the start"
                self._apps.fail(app, ContainerGone(container=record.container, reason=reason))
                continue
            if not record.main_ended and not record.detached:
                # An isod of before the names were short has not recorded any.
                record.stored = record.stored or f"lifetime-{record.id}"
                fd = self._store.take(record.stored)
                if fd is None:
                    record.stop_wanted = True
                else:
                    self._apps.hold_lifetime(app, fd)
        running = (app.record for app in self._apps.all() if app.record.running)
        return {(record.container, record.host_unit) for record in running}

    def finish(self) -> None:
        """End the records of containers that are not there any more."""
        there = {(container.unit, container.invocation_id) for container in self._containers.all()}
        for app in self._apps.all():
            if app.record.running and (app.record.host_unit, app.record.invocation_id) not in there:
                self._end_unknown(app, _gone(app))

    def _guest_lost(self, container: Container) -> None:
        for app in self._apps.all():
            if app.record.invocation_id and app.record.host_unit == container.unit and app.record.running:
                app.unwatch = None  # it went with the connection
                self._apps.spawn(self._check_after_loss(app, container))

    async def _check_after_loss(self, app: App, container: Container) -> None:
        # The connection may be lost while the container lives on: then the app is followed again.
        await asyncio.sleep(0)
        while app.record.invocation_id == container.invocation_id and (
            task := container.refreshing or container.starting
        ):
            await asyncio.wait({task})
        # That nobody answers, or that we end, is no news of the app: only the end of its container is.
        is_over = app.record.invocation_id != container.invocation_id or container.state in _OVER
        if is_over and self._apps.guest_of(app) is None:
            self._end_unknown(app, _gone(app))

    def _guest_ready(self, container: Container) -> None:
        for app in self._apps.all():
            record = app.record
            if record.host_unit == container.unit and record.invocation_id and record.running and app.unwatch is None:
                self._apps.spawn(self._follow_again(app, container))

    async def _follow_again(self, app: App, container: Container) -> None:
        guest = container.guest
        if guest is None or guest.invocation_id != app.record.invocation_id:
            self._end_unknown(app, _gone(app))
            return

        def is_lost() -> bool:
            # That is known elsewhere, and when it is back all of this is done again.
            return bool(guest.closed or container.guest is not guest)

        try:
            await self._apps.patience.insist(container.unit, lambda: self._ask(app, container, guest), is_over=is_lost)
        except _NotThereError:
            self._end_unknown(app, _gone(app))
        except StartFailed as error:
            self._apps.fail(app, error)

    async def _ask(self, app: App, container: Container, guest: Any) -> None:
        """Match first, then ask, so that no change falls in between.

        Raises _NotThereError, StartFailed for what is known by then, ContainerGone where it does not answer.
        """
        if app.unwatch is None:
            app.unwatch = await guest.watch_unit(app.unit, lambda changed: self._apps.unit_changed(app, changed))
        unit = await guest.unit_properties(app.unit, "Unit")
        # A unit that is not loaded answers 0 and 0 without an error: that is unknown, never success.
        if unit.get("LoadState") != "loaded":
            if app.record.untold_launch:
                raise StartFailed(container=container.name, reason="isod was restarted before it started the app")
            raise _NotThereError
        self._apps.launched(app)
        service = {} if app.record.left_over else await guest.unit_properties(app.unit, "Service")
        self._apps.unit_changed(app, {**service, **unit})
        if app.stop_wanted and app.record.running:
            # Not within this turn: a stop waits for one of its own.
            self._apps.spawn(self._apps.stop(app))

    def _end_unknown(self, app: App, error: IsodError) -> None:
        self._apps.main_ended(app, exit_code=-1, exit_signal=0, error=error)
        self._apps.forget_unit(app)


def _gone(app: App) -> ContainerGone:
    return ContainerGone(container=app.record.container, reason="the exit code of its app is not known")
