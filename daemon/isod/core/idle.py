"""Containers that policy wants stopped when nobody has used them for a while."""

import asyncio
import logging
import math
from typing import Any

from isod.core.apps import Apps
from isod.core.background import Background
from isod.core.container import Container
from isod.core.containers import Containers
from isod.core.events import Listener
from isod.core.windows import Windows
from isod.ports import Caller
from isod_contract.errors import IsodError
from isod_contract.states import ContainerState

_log = logging.getLogger(__name__)

# How often windows are looked at: a part of the time, so that it is over that much later than promised at most.
_LOOK_PART = 0.1
_LOOK_LEAST_SEC = 1.0


class Idle(Listener):
    """Counts the time since the last app of ours ended, the last window closed and the last person inside logged out.

    Whatever happens begins the time anew; what is the case is looked at when it is over. Nothing tells of windows that
    D-Bus or systemd opened inside: while there are any, they are looked at again and again. None is closed unasked.
    """

    def __init__(self, *, containers: Containers, apps: Apps, windows: Windows) -> None:
        """Take the parts."""
        self._containers = containers
        self._apps = apps
        self._windows = windows
        self._seen_sec: dict[Container, float] = {}  # when a window was seen last, by the loop's clock
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
        self._seen_sec.pop(container, None)
        timer = self._timers.pop(container, None)
        if timer is not None:
            timer.cancel()
        if container.state is not ContainerState.RUNNING:
            self._watched.pop(container, None)
            return
        idle_sec = container.policy.idle_stop_sec
        if idle_sec:
            self._watch(container)
            self._look_in(container, idle_sec)

    def _look_in(self, container: Container, sec: float) -> None:
        loop = asyncio.get_running_loop()
        self._timers[container] = loop.call_later(sec, self._due, container)

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
        try:
            await self._look(container)
        except Exception as error:  # noqa: BLE001 - a fault costs one look; the container must not stay up for good
            reason = error.text if isinstance(error, IsodError) else f"{type(error).__name__}: {error}"
            _log.warning("container.not_stopped", extra={"container": container.name, "reason": reason})
            idle_sec = container.policy.idle_stop_sec
            if idle_sec and container not in self._timers and container.state is ContainerState.RUNNING:
                self._look_in(container, idle_sec)

    async def _look(self, container: Container) -> None:
        """Stop a container whose time is over if nothing uses it. Raises whatever its stop does."""
        guest = container.guest
        if guest is None or self._in_use(container):
            return  # its end begins the time anew
        if await guest.logins.logins():
            return  # so does a logout
        used_by = await self._windows.used_by(container, guest)
        # Somebody may have come while that was looked at.
        if container in self._timers or container.guest is not guest or self._in_use(container):
            return
        if self._waits_for_windows(container, used_by):
            return
        _log.info("container.stopped_idle", extra={"container": container.name, "sec": container.policy.idle_stop_sec})
        await self._containers.stop(container, Caller(sender="", uid=0, user="root"), force=True)

    def _waits_for_windows(self, container: Container, used_by: str) -> bool:
        """Tell whether there is a window, or was within the time; then it is looked at again."""
        idle_sec, now_sec = container.policy.idle_stop_sec, asyncio.get_running_loop().time()
        if not idle_sec:
            return True  # policy has changed its mind
        if used_by:
            if container not in self._seen_sec:
                _log.info("container.not_idle", extra={"container": container.name, "used_by": used_by})
            self._seen_sec[container] = now_sec
            self._look_in(container, max(_LOOK_LEAST_SEC, idle_sec * _LOOK_PART))
            return True
        left_sec = self._seen_sec.get(container, -math.inf) + idle_sec - now_sec
        if left_sec > 0:
            self._look_in(container, left_sec)
        return left_sec > 0

    def _in_use(self, container: Container) -> bool:
        return any(
            app.record.host_unit == container.unit and (app.record.running or not app.ended) for app in self._apps.all()
        )
