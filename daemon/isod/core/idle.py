"""Containers that policy wants stopped when nobody has used them for a while."""

import asyncio
import logging
from typing import Any

from isod.core.apps import Apps
from isod.core.background import Background
from isod.core.container import Container
from isod.core.containers import Containers
from isod.core.events import Listener
from isod.ports import Caller
from isod_contract.errors import IsodError
from isod_contract.states import ContainerState

_log = logging.getLogger(__name__)


class Idle(Listener):
    """Counts the time since the last app of ours ended and the last person inside logged out.

    Whatever happens begins the time anew; what is the case is looked at when it is over.
    """

    def __init__(self, *, containers: Containers, apps: Apps) -> None:
        """Take the parts."""
        self._containers = containers
        self._apps = apps
        self._timers: dict[Container, asyncio.TimerHandle] = {}
        self._watched: dict[Container, Any] = {}
        self._background = Background()

    def container_changed(self, container: Container, changed: frozenset[str]) -> None:
        """Begin with a container that runs, end with one that does not."""
        if "State" in changed:
            self.touch(container)

    def app_added(self, app: Any) -> None:
        """Begin anew."""
        self._touch_for(app)

    def app_changed(self, app: Any, changed: frozenset[str]) -> None:
        """Begin anew if nothing is left of it."""
        if "Running" in changed or "State" in changed:
            self._touch_for(app)

    def app_exited(self, app: Any) -> None:
        """Begin anew."""
        self._touch_for(app)

    def app_removed(self, app: Any) -> None:
        """Begin anew."""
        self._touch_for(app)

    def policy_changed(self) -> None:
        """Begin anew for all, with the times that policy gives now."""
        for container in self._containers.all():
            self.touch(container)

    def _touch_for(self, app: Any) -> None:
        for container in self._containers.all():
            if container.unit == app.record.host_unit:
                self.touch(container)

    def touch(self, container: Container) -> None:
        """Begin the time anew."""
        timer = self._timers.pop(container, None)
        if timer is not None:
            timer.cancel()
        if container.state is not ContainerState.RUNNING:
            self._watched.pop(container, None)
            return
        idle_sec = container.policy.idle_stop_sec
        if idle_sec:
            self._watch(container)
            loop = asyncio.get_running_loop()
            self._timers[container] = loop.call_later(idle_sec, self._due, container)

    def _watch(self, container: Container) -> None:
        guest = container.guest
        if guest is not None and self._watched.get(container) is not guest:
            self._watched[container] = guest
            self._background.spawn(guest.logins.watch(lambda: self._login_changed(container, guest)))

    def _login_changed(self, container: Container, guest: Any) -> None:
        if container.guest is guest:
            self.touch(container)

    def _due(self, container: Container) -> None:
        self._timers.pop(container, None)
        self._background.spawn(self._stop_if_idle(container))

    async def _stop_if_idle(self, container: Container) -> None:
        guest = container.guest
        if guest is None or self._in_use(container):
            return  # its end begins the time anew
        if await guest.logins.logins():
            return  # so does a logout
        # Somebody may have come while logind was asked.
        if container in self._timers or container.guest is not guest or self._in_use(container):
            return
        _log.info("container.stopped_idle", extra={"container": container.name, "sec": container.policy.idle_stop_sec})
        try:
            await self._containers.stop(container, Caller(sender="", uid=0, user="root"), force=True)
        except IsodError as error:
            _log.warning("container.not_stopped", extra={"container": container.name, "reason": error.text})

    def _in_use(self, container: Container) -> bool:
        return any(
            app.record.host_unit == container.unit and (app.record.running or not app.ended) for app in self._apps.all()
        )
