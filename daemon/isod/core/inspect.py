"""Reads what checks look at, for one caller, and has them look: `Manager.Check` and `Container.Check`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from isod.authorise import sees
from isod.checks import ContainerFacts, HostFacts, container_findings, host_findings
from isod.checks.facts import RunningFacts
from isod.core import terminal_types
from isod.core.container import Container
from isod.core.containers import Containers
from isod.core.devices import Devices
from isod.core.environment import with_known_locales
from isod.core.host_users import login_user
from isod.core.prepare import PAM_SYSTEMD
from isod.core.reconcile import Reconciler
from isod.core.sessions import Sessions
from isod.nspawn_root import StartGuard, booted_directory
from isod.policy_view import PolicyView
from isod.ports import Account, Caller, Directories, HostUnits, LiveSession, UnitSettings
from isod.resources import kinds
from isod.resources.base import Attachment
from isod.survey_ports import Places, Surveyor
from isod_contract.errors import IsodError, NoSecurityContext
from isod_contract.findings import Finding
from isod_contract.limits import GUEST_CALL_TIMEOUT_SEC
from isod_contract.names import GUEST_DIRECTORY
from isod_contract.options import CheckOptions

_LOGIND = "systemd-logind.service"
# Well within what all questions to a container may take together.
_PLACES_SEC = 2.0
_WANTED: Mapping[str, tuple[str, ...]] = {
    # NixOS has its units below /etc, others below /usr or, with an unmerged one, /lib.
    "session-bus": tuple(
        f"{directory}/systemd/user/dbus.socket" for directory in ("usr/lib", "etc", "lib", "usr/local/lib", "run")
    ),
    "zoneinfo": ("usr/share/zoneinfo", "etc/zoneinfo"),
    "localtime": ("etc/localtime",),
    "pam-systemd": PAM_SYSTEMD,
    "bwrap": ("usr/bin/bwrap", "usr/local/bin/bwrap", "run/current-system/sw/bin/bwrap"),
}


class Inspector:
    """Answers what is wrong, without changing anything."""

    def __init__(
        self,
        *,
        containers: Containers,
        reconciler: Reconciler,
        sessions: Sessions,
        units: HostUnits,
        directories: Directories,
        surveyor: Surveyor,
        guard: StartGuard,
        devices: Devices,
        look_at_policy: Callable[[], Awaitable[PolicyView]],
    ) -> None:
        """Take the parts that know."""
        self._containers = containers
        self._reconciler = reconciler
        self._sessions = sessions
        self._units = units
        self._directories = directories
        self._surveyor = surveyor
        self._guard = guard
        self._devices = devices
        self._look_at_policy = look_at_policy
        # Whoever asks for the same thing many times waits for themselves, and for nobody else.
        self._turns: dict[tuple[int, str], asyncio.Lock] = {}

    async def host(self, caller: Caller, options: CheckOptions) -> list[Finding]:
        """Give what is wrong with the host, as far as isod alone knows it."""
        policy = await self._look_at_policy()
        hints = _hints(options)
        session = self._sessions.find(caller.uid)
        if session is None and hints.get("WAYLAND_DISPLAY"):
            # Of one who has a display the session may only be about to come back, after a restart of isod.
            session = await self._sessions.wait_for(caller.uid)
        levels = (container.grants()["wayland"] for container in self._containers.visible(caller))
        return host_findings(
            HostFacts(
                caller=caller,
                hints=hints,
                session=session,
                policy=policy,
                wayland_levels=frozenset(levels),
            )
        )

    async def container(self, container: Container, caller: Caller, options: CheckOptions) -> list[Finding]:
        """Give what is wrong with a container for the caller; that it does not answer is a finding like others."""
        async with self._turns.setdefault((caller.uid, container.name), asyncio.Lock()):
            return container_findings(await self._facts(container, caller, options))

    async def _facts(self, container: Container, caller: Caller, options: CheckOptions) -> ContainerFacts:
        session = self._sessions.find(caller.uid)
        running, silence = None, ""
        settings = await self._units.settings(container.unit)
        try:
            # One deadline for all that is asked of it: each answer alone might come just in time.
            async with asyncio.timeout(GUEST_CALL_TIMEOUT_SEC):
                running = await self._running(container, caller, options, session)
        except TimeoutError:
            silence = f"it does not answer within {GUEST_CALL_TIMEOUT_SEC:.0f} s"
        except IsodError as error:
            silence = error.text
        return ContainerFacts(
            name=container.name,
            machine=container.machine,
            unit=container.unit,
            policy=container.policy,
            caller=caller,
            account_name=container.account_for(caller),
            grants=container.grants(),
            settings=settings,
            problem=container.problem,
            session=session,
            display_problems=_display_problems(container, caller, session),
            running=running,
            silence=silence,
            unmet=self._devices.unmet(container),
            lack=await self._lack(container, settings),
        )

    async def _lack(self, container: Container, settings: UnitSettings) -> str:
        root = booted_directory(settings.command)
        if not root or settings.active_state not in ("inactive", "failed"):
            return ""
        try:
            return await self._guard.lack(root, container.name)
        except IsodError as error:
            return error.text

    async def _running(
        self, container: Container, caller: Caller, options: CheckOptions, session: LiveSession | None
    ) -> RunningFacts | None:
        guest = container.guest
        if guest is None or guest.closed:
            return None
        name = container.account_for(caller)
        account: Account | None = await guest.account(name) if name else None
        wanted = {**_WANTED, **{f"needs-{key}": kind.needs_inside for key, kind in kinds().items()}}
        facts = RunningFacts(
            uid_shift=guest.uid_shift,
            account=account,
            other_owner=await _other_owner(guest, account, caller),
            has_logind=await guest.has_unit(_LOGIND),
            dropped_locales=_dropped(
                {**(session.environment if session else {}), **_hints(options)}, await guest.locales()
            ),
            unknown_terminal=await _unknown_terminal(guest, account, _hints(options)),
            missing_sockets=await self._missing_sockets(container, guest, caller, session),
            inside=await guest.offload.run(lambda: self._surveyor.look(guest, account, wanted)),
        )
        # Last, since it may never end: what was seen by then is told all the same.
        return replace(facts, places=await self._places(guest, account))

    async def _places(self, guest: Any, account: Account | None) -> Places:
        try:
            async with asyncio.timeout(_PLACES_SEC):
                found: Places = await guest.offload.run(lambda: self._surveyor.look_at_places(guest, account))
        except TimeoutError:
            return Places(unseen=(f"its files (no answer within {_PLACES_SEC:.0f} s)",))
        except IsodError as error:
            return Places(unseen=(f"its files ({error.text})",))
        return found

    async def _missing_sockets(
        self, container: Container, guest: Any, caller: Caller, session: LiveSession | None
    ) -> tuple[str, ...]:
        """Name the caller's attached sockets that are not there inside."""
        if session is None:
            return ()
        attached = {item["resource"] for item in self._reconciler.attachments(container, caller)}
        wanted = (kind.attachment(container.grants(), session) for key, kind in kinds().items() if key in attached)
        names = [item.name for item in wanted if isinstance(item, Attachment)]

        def missing() -> tuple[str, ...]:
            seen = {name: self._directories.identity_inside(guest.root_fd, caller.uid, name) for name in names}
            return tuple(f"/{GUEST_DIRECTORY}/{caller.uid}/{name}" for name in names if seen[name] is None)

        found: tuple[str, ...] = await guest.offload.run(missing)
        return found


async def _other_owner(guest: Any, account: Account | None, caller: Caller) -> str:
    """Name the host's login user whom a launch would be refused for; "" for nobody."""
    if account is None or guest.uid_shift or caller.is_root or account.uid in (0, caller.uid):
        return ""
    return await asyncio.to_thread(login_user, account.uid)


def _display_problems(container: Container, caller: Caller, session: LiveSession | None) -> tuple[IsodError, ...]:
    if session is None or not sees(container.policy, caller):
        return ()
    found = (kind.attachment(container.grants(), session) for kind in kinds().values())
    # A session without any compositor, or with one that can't isolate, is one fact about the host, not one about each
    # container.
    return tuple(
        item
        for item in found
        if session.wayland and isinstance(item, IsodError) and not isinstance(item, NoSecurityContext)
    )


def _dropped(variables: Mapping[str, str], locales: frozenset[str]) -> tuple[str, ...]:
    """Give what names a locale that the container does not have."""
    kept = with_known_locales(variables, locales)
    return tuple(f"{name}={value}" for name, value in sorted(variables.items()) if name not in kept)


async def _unknown_terminal(guest: Any, account: Account | None, hints: Mapping[str, str]) -> tuple[str, str] | None:
    """Give the caller's terminal and the one that programs inside are told in place of it; None if they know it."""
    asked = terminal_types.asked_type(hints)
    if account is None or not asked:
        return None
    known = await guest.terminal_type(account, terminal_types.nearest_types(asked))
    return (asked, known) if known != asked else None


def _hints(options: CheckOptions) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in options.hints or ())
