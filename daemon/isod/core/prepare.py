"""What must be right inside a container before an app starts: runtime directory, session bus, nix directories."""

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from isod.ports import Account, Files
from isod_contract.names import keeper_unit

_KEEPER_WAIT_SEC = 5.0
_KEEPER_RECHECK_SEC = 0.05


class Prepare:
    """Reconciles a container for one account; a few fstats when all is right."""

    def __init__(self, files: Files) -> None:
        """Take the port to the container's file system."""
        self._files = files
        self._turns: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()

    async def run(self, guest: Any, account: Account, container: str) -> None:
        """Make the account's directories right. Raises UnsafePath, NoSpace, ContainerGone."""
        if await guest.offload.run(lambda: self._files.prepare_nix_and_check(guest, account, container)):
            return
        # One at a time: the first makes it, the others then find it made.
        async with self._turns.setdefault(guest, asyncio.Lock()):
            if not await guest.offload.run(lambda: self._files.runtime_ready(guest, account, container)):
                await self._make_runtime(guest, account, container)

    async def _make_runtime(self, guest: Any, account: Account, container: str) -> None:
        if await guest.has_unit("systemd-logind.service"):
            await self._keep_session(guest, account, container)
        else:
            await guest.offload.run(lambda: self._files.make_runtime_directory(guest, account, container))

    async def _keep_session(self, guest: Any, account: Account, container: str) -> None:
        """Have the container's own logind make the directory, and keep it while the container runs.

        Restart=always: an app may end the session with `loginctl terminate-session` without any privilege.
        """
        unit = keeper_unit(account.uid)
        job = await guest.start_unit(
            unit,
            [
                ("Description", "s", f"isoctl session of {account.name}"),
                ("Type", "s", "exec"),
                ("User", "s", account.name),
                ("PAMName", "s", "login"),
                ("Restart", "s", "always"),
                ("RestartUSec", "t", 100_000),
                ("StartLimitIntervalUSec", "t", 0),
                ("CollectMode", "s", "inactive-or-failed"),
                ("ExecStartEx", "a(sasas)", [["/bin/sh", ["sh", "-c", "exec sleep infinity"], []]]),
            ],
        )
        if job is not None:
            await asyncio.wait_for(job, _KEEPER_WAIT_SEC)
        else:
            await guest.start_existing(unit)
        async with asyncio.timeout(_KEEPER_WAIT_SEC):
            # user@UID.service is started by the session; its bus may come a moment after the keeper's job.
            while not await guest.offload.run(  # noqa: ASYNC110 - a deadline loop over files
                lambda: self._files.runtime_ready(guest, account, container)
            ):
                await asyncio.sleep(_KEEPER_RECHECK_SEC)  # nothing inside could be believed to tell us
