"""Who logs in to the host and who leaves: told once each, also over restarts of isod."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from isod.core.json_file import write_json
from isod.ports import Logins
from isod_contract.errors import NoSpace
from isod_contract.names import STATE_DIRECTORY


class LoginWatch:
    """Compares the sessions that logind has with those that were there before."""

    def __init__(self, logins: Logins, path: Path = Path(STATE_DIRECTORY) / "logins.json") -> None:
        """Take logind, and the file that remembers for the next isod."""
        self._logins = logins
        self._path = path
        self._known: dict[str, int] = {}
        self._looking: asyncio.Task[None] | None = None
        self._again = False
        self._arrived: list[Callable[[int], None]] = []
        self._departed: list[Callable[[int], None]] = []

    def listen(
        self, *, arrived: Callable[[int], None] | None = None, departed: Callable[[int], None] | None = None
    ) -> None:
        """Call back with a uid whose first session is there, and with one whose last is gone."""
        if arrived:
            self._arrived.append(arrived)
        if departed:
            self._departed.append(departed)

    async def open(self) -> None:
        """Begin. Who logged in before isod was first started has logged in now."""
        self._known = self._recorded()
        await self._logins.watch(self._changed)
        self._changed()

    def _changed(self) -> None:
        if self._looking is not None:
            self._again = True
            return
        self._looking = asyncio.get_running_loop().create_task(self._look_until_quiet())

    async def _look_until_quiet(self) -> None:
        try:
            self._again = True
            while self._again:
                self._again = False
                await self._look()
        finally:
            self._looking = None

    async def _look(self) -> None:
        logins = await self._logins.logins()
        if logins is None:
            return
        before, now = self._known, {login.id: login.uid for login in logins}
        if before == now:
            return
        self._known = now
        self._record(now)
        # A session that goes on means that the user was here all the time; ids are not used twice in a boot.
        stayed = {uid for name, uid in now.items() if name in before}
        for uid in set(now.values()) - stayed:
            for tell in self._arrived:
                tell(uid)
        for uid in set(before.values()) - set(now.values()):
            for tell in self._departed:
                tell(uid)

    def _recorded(self) -> dict[str, int]:
        try:
            return {str(name): int(uid) for name, uid in json.loads(self._path.read_text()).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _record(self, logins: dict[str, int]) -> None:
        with contextlib.suppress(NoSpace):  # the next isod then takes all for new
            write_json(self._path, logins)
