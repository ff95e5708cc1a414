"""What must be right inside a container before an app starts: runtime directory, session bus, nix directories."""

import asyncio
import time
from typing import Any
from weakref import WeakKeyDictionary

from isod.ports import Account, Files
from isod_contract.errors import StartFailed
from isod_contract.names import keeper_unit

SYSTEM_PATH = "/run/current-system/sw/bin:/usr/bin:/bin"
# Longer each time: what hangs is over soon, and what is only slow must not be restarted for ever.
_KEEPER_WAITS_SEC = (3.0, 6.0, 12.0, 24.0)
_KEEPER_RECHECK_SEC = 0.05


# Where distributions have it, as seen inside; in NixOS's store it is under a name that changes.
PAM_SYSTEMD = (
    *(f"usr/lib{suffix}/security/pam_systemd.so" for suffix in ("", "64")),
    *(
        f"usr/lib/{machine}/security/pam_systemd.so"
        for machine in (
            *("x86_64-linux-gnu", "aarch64-linux-gnu", "riscv64-linux-gnu", "powerpc64le-linux-gnu"),
            *("s390x-linux-gnu", "loongarch64-linux-gnu", "i386-linux-gnu", "arm-linux-gnueabihf"),
        )
    ),
    *(f"lib/{machine}/security/pam_systemd.so" for machine in ("x86_64-linux-gnu", "aarch64-linux-gnu")),
    "nix/store",
)


class Prepare:
    """Reconciles a container for one account; a few fstats when all is right."""

    def __init__(self, files: Files) -> None:
        """Take the port to the container's file system."""
        self._files = files
        self._turns: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()

    async def run(self, guest: Any, account: Account, container: str) -> None:
        """Make the account's directories right. Raises UnsafePath, NoSpace, ContainerGone."""
        is_ready = await guest.offload.run(lambda: self._files.prepare_nix_and_check(guest, account, container))
        if is_ready and account.uid not in guest.ended_sessions:
            return
        # One at a time: the first makes it, the others then find it made.
        async with self._turns.setdefault(guest, asyncio.Lock()):
            is_ready = await guest.offload.run(lambda: self._files.runtime_ready(guest, account, container))
            # logind leaves the directory for a while (logind.conf(5), UserStopDelaySec), and then takes it from whoever
            # was let in again meanwhile.
            if not is_ready or account.uid in guest.ended_sessions:
                await self._make_runtime(guest, account, container)
                guest.ended_sessions.discard(account.uid)

    async def _make_runtime(self, guest: Any, account: Account, container: str) -> None:
        if await guest.has_unit("systemd-logind.service"):
            await self._keep_session(guest, account, container)
        else:
            await guest.offload.run(lambda: self._files.make_runtime_directory(guest, account, container))

    async def _keep_session(self, guest: Any, account: Account, container: str) -> None:
        """Have the container's own logind make the directory, and keep it while the container runs.

        Restart=always: an app may end the session with `loginctl terminate-session` without any privilege. A session
        that is opened while logind still ends the last one of that user can hang in PAM, since logind drops the job
        that it waits for; so nothing here waits for the unit's job, and a keeper that achieves nothing is restarted.
        """
        unit = keeper_unit(account.uid)
        if await self._start_keeper(guest, unit, account) is None:
            await guest.queue_existing("StartUnit", unit)
        for number, wait_sec in enumerate(_KEEPER_WAITS_SEC):
            if number:
                await guest.queue_existing("RestartUnit", unit)
            if await self._becomes_ready(guest, account, container, wait_sec):
                return
            if not await guest.offload.run(lambda: self._files.has_any(guest, PAM_SYSTEMD)):
                # No later wait would end otherwise.
                raise StartFailed(
                    container=container,
                    reason=f"it has no pam_systemd.so, without which no login of {account.name} gets a session; "
                    "install libpam-systemd (systemd-pam) in it",
                )
        raise StartFailed(
            container=container, reason=f"its logind opens no session for {account.name}; see {unit} inside"
        )

    async def _becomes_ready(self, guest: Any, account: Account, container: str, wait_sec: float) -> bool:
        """Look until the directory and its bus are there, for a bounded time; the bus comes a moment later.

        Those of a session that isod ended are there all along: of such an account the session must be open, too.
        """
        deadline = time.monotonic() + wait_sec
        while not (
            (account.uid not in guest.ended_sessions or await self._is_kept(guest, account))
            and await guest.offload.run(lambda: self._files.runtime_ready(guest, account, container))
        ):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_KEEPER_RECHECK_SEC)
        return True

    @staticmethod
    async def _is_kept(guest: Any, account: Account) -> bool:
        """Tell whether the keeper is past PAM (systemd.service(5), Type=exec), and logind has a session of its user."""
        unit = await guest.unit_properties(keeper_unit(account.uid), "Unit")
        return unit.get("ActiveState") == "active" and bool(await guest.logins.has_session(account.uid))

    @staticmethod
    async def _start_keeper(guest: Any, unit: str, account: Account) -> Any:
        """Queue the keeper's start; None if it is there already."""
        return await guest.start_unit(
            unit,
            [
                ("Description", "s", f"isoctl session of {account.name}"),
                ("Type", "s", "exec"),
                ("User", "s", account.name),
                ("PAMName", "s", "login"),
                ("Restart", "s", "always"),
                ("RestartUSec", "t", 1_000_000),  # later than logind's clean-up of the session before
                ("TimeoutStopUSec", "t", 1_000_000),
                ("StartLimitIntervalUSec", "t", 0),
                ("CollectMode", "s", "inactive-or-failed"),
                # NixOS's systemd finds nothing but its own programs by itself.
                ("Environment", "as", [f"PATH={SYSTEM_PATH}"]),
                ("ExecStartEx", "a(sasas)", [["/bin/sh", ["sh", "-c", "exec sleep infinity"], []]]),
            ],
        )
