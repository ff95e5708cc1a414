"""Which of the user's compositors shows containers' windows: the caller's own, unless another one is in use.

One serves all containers. A switch while an app shows windows would scatter them: what it opens later, and what it
starts, would appear on the other screen.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from isod_contract import names
from isod_contract.states import ENDED, AppState
from isod_session.display import Display
from isod_wire import Connection, WireError

_UNDER_WAY = frozenset({AppState.AUTHORIZING, AppState.STARTING_CONTAINER, AppState.PREPARING})


class Servers(Protocol):
    """What else shows windows: `isod_session.x11`."""

    @property
    def running(self) -> bool:
        """Whether any X server runs."""


class Choice:
    """Takes what callers say of their display."""

    def __init__(self, display: Display, servers: Servers) -> None:
        """Take what is to be switched, and the X servers, which stay with the compositor that they were started on."""
        self._display = display
        self._servers = servers
        self._system_bus: Connection | None = None
        self._turn = asyncio.Lock()

    def use(self, system_bus: Connection | None) -> None:
        """Ask isod on this connection from now on."""
        self._system_bus = system_bus

    async def choose(self, untrusted_name: str) -> str:
        """Have a caller's compositor serve; gives a sentence if another one goes on, since it is in use.

        What does not answer, as a variable of an old terminal, is no choice.
        """
        path = self._display.path_of(untrusted_name)
        async with self._turn:
            served = self._display.served
            if (served is not None and served.path == path) or not await self._display.answers(path):
                return ""
            if served is not None and await self.is_in_use():
                return (
                    f"windows appear on {served.path.name}, not on your {path.name}, "
                    "since apps in containers show theirs there; close those to change that"
                )
            await self._display.choose(path)
        return ""

    async def is_in_use(self) -> bool:
        """Tell whether an app of the user's shows windows, or may be about to, as far as isod knows."""
        if self._servers.running:
            return True
        if self._system_bus is None:
            return False
        try:
            return await self._shows_any(self._system_bus)
        except WireError:
            return False

    @staticmethod
    async def _shows_any(system_bus: Connection) -> bool:
        after, more = [0, ""], True
        while more:
            with await system_bus.call(
                names.BUS_NAME, names.ROOT_PATH, names.MANAGER, "ListAppsAfter", "ts", after, expect="a(oa{sv})b"
            ) as reply:
                page, more = reply.body
            apps = [{key: value.value for key, value in app.items()} for _, app in page]
            if any(_shows(app) for app in apps):
                return True
            more = more and bool(apps)
            after = [apps[-1]["StartedUSec"], apps[-1]["Id"]] if more else after
        return False


def _shows(app: Mapping[str, Any]) -> bool:
    if app["State"] in _UNDER_WAY:
        return True
    # An isod of an earlier version does not say.
    displays = {"wayland", "x11"}.intersection(app.get("Grants") or ())
    return bool(displays) and bool(app["State"] not in ENDED or app["Running"])
