"""The composition root: makes the adapters, the core and the bus side, wires them, and watches over them."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from systemd import daemon

from isod import counters, log
from isod.audit import JournalAudit
from isod.authorise import Outcome, Verb, decide
from isod.bus.caller import Callers, looks_like_container_unit
from isod.bus.endpoint import Endpoint
from isod.bus.prompts import Prompts
from isod.bus.services import Services
from isod.core.activation import Activation
from isod.core.app_start import AppStarter
from isod.core.apps import Apps
from isod.core.autostart import Autostart
from isod.core.containers import Containers
from isod.core.device_records import DeviceRecords
from isod.core.devices import Devices
from isod.core.environment_file import EnvironmentFiles
from isod.core.events import Events
from isod.core.grants import Grants
from isod.core.idle import Idle
from isod.core.inspect import Inspector
from isod.core.launch import Launcher
from isod.core.leftovers import Leftovers
from isod.core.listeners import Listeners
from isod.core.logins import LoginWatch
from isod.core.logout import Logout
from isod.core.menu import desktops, languages
from isod.core.prepare import Prepare
from isod.core.reconcile import Reconciler
from isod.core.recovery import Recovery
from isod.core.reload import PolicyInForce
from isod.core.sessions import Sessions
from isod.core.shown import ShownDirectories
from isod.core.state_files import ListenerFiles, StateFiles
from isod.core.user_sockets import UserSockets
from isod.core.windows import Windows
from isod.core.x_server_units import XServerUnits
from isod.history import JournalHistory
from isod.host import floor
from isod.host.display_use import used_by
from isod.host.displays import ContainerDirectories
from isod.host.fdstore import SystemdFdStore
from isod.host.files import GuestFiles
from isod.host.guest_door import GuestDoor
from isod.host.helper import Helper
from isod.host.host_directories import HostDirectories
from isod.host.launch_files import SecretFiles
from isod.host.logind import Logind
from isod.host.machined import Machined
from isod.host.nodes import ContainerNodes
from isod.host.polkit import Polkit
from isod.host.start_guard import StoppedRoots
from isod.host.survey import Survey
from isod.host.systemd import SystemdUnits
from isod.host.udev import UdevDevices
from isod.host.unit_journal import UnitJournal
from isod.journal import Journal
from isod.paced_audit import PacedAudit
from isod.policy_loader import DIRECTORY, load_policy
from isod.ports import Caller
from isod.settings import Limits
from isod.subordinate_ids import SubordinateIds
from isod_contract.errors import ContainerGone, HostSilent
from isod_contract.names import BUS_NAME
from isod_contract.options import ExplainOptions, LogOptions
from isod_wire import SYSTEM_BUS_CAPS, Connection, connect

_SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
_UNIT = "isod.service"
_EXIT_BUS_LOST = 75  # sysexits.h, EX_TEMPFAIL: systemd starts isod again


class ContainerFront:
    """Containers as the bus side sees them: with the logs and numbers of the apps in them."""

    def __init__(
        self,
        containers: Containers,
        apps: Apps,
        reconciler: Reconciler,
        devices: Devices,
        grants: Grants,
        sessions: Sessions,
        x_servers: XServerUnits,
    ) -> None:
        """Take all."""
        self.start_x_server = x_servers.start
        self.stop_x_server = x_servers.stop
        self._sessions = sessions
        self._reconciler = reconciler
        self._devices = devices
        self.grant = grants.grant
        self.revoke = grants.revoke
        self.open_display = reconciler.open
        self._containers = containers
        self._apps = apps
        self.visible = containers.visible
        self.find = containers.find
        self.start = containers.start
        self.stop = containers.stop
        self.restart = containers.restart

    def attachments(self, container: Any, caller: Caller) -> Sequence[Mapping[str, str]]:
        """Give what is attached: the caller's sockets, and the container's devices."""
        return [*self._reconciler.attachments(container, caller), *self._devices.attachments(container)]

    def render_nodes(self, container: Any) -> Sequence[str]:
        """Give the devices of graphics that it is granted."""
        return self._devices.nodes(container, "gpu")

    async def open_log(self, container: Any, caller: Caller, options: LogOptions) -> int:
        """Give a pipe with the container's journal, as far as it is the caller's."""
        return await self._apps.open_container_log(container, caller, options)

    async def applications(
        self, container: Any, caller: Caller, hints: Sequence[str] | None
    ) -> Sequence[Mapping[str, object]]:
        """Give what a menu shows, in the language and for the desktop that the hints say, or the caller's session."""
        guest = container.guest
        if guest is None:
            raise ContainerGone(container=container.name, reason="its applications can be read only while it runs")
        account = await guest.account(container.account_for(caller))
        if account is None:
            return []
        session = self._sessions.environment(caller.uid)
        found = await guest.applications(account, languages(session, hints or ()), desktops(session, hints or ()))
        return [item.values() for item in found]

    async def usage(self, container: Any, caller: Caller) -> Sequence[Mapping[str, object]]:
        """Give what the caller's apps in it use."""
        return await self._apps.usage(container, caller)


class Daemon:
    """isod on one system bus connection; it lives as long as that does."""

    def __init__(
        self, connection: Connection, directory: Path, journal: Journal, accountable: Callable[[int], int]
    ) -> None:
        """Build all parts; `accountable` tells whose share a uid's is."""
        self._connection = connection
        self._log = log.logger()
        self._audit = JournalAudit(
            journal=journal, on_fault=lambda fault: self._log.error("audit.failed", reason=fault)
        )
        loaded = load_policy(directory)
        self._events = Events()
        self._store = SystemdFdStore()
        self._units = SystemdUnits(connection)
        machines = Machined(connection)
        callers = Callers(connection=connection, units=self._units, is_container_unit=self._is_container_unit)
        prompts = Prompts(
            callers=callers, authority=Polkit(connection), per_uid_max=lambda uid: self._limits(uid).prompts
        )
        helper = Helper(units=self._units)
        directories = ContainerDirectories()
        paced = PacedAudit(self._audit, accountable=accountable)
        self._sessions = Sessions(paced)
        shown = ShownDirectories(directories, helper, self._units)
        self._environments = EnvironmentFiles(shown, SecretFiles())
        activation = Activation(self._environments)
        self._reconciler = Reconciler(
            sessions=self._sessions,
            activation=activation,
            directories=directories,
            shown=shown,
            sockets=UserSockets(
                sessions=self._sessions,
                directories=directories,
                mounter=helper,
                listeners=Listeners(directories, self._store, ListenerFiles()),
            ),
            audit=self._audit,
            events=self._events,
        )
        guard = StoppedRoots()
        self._containers = Containers(
            policy=loaded.policy,
            units=self._units,
            door=GuestDoor(machines=machines, units=self._units, helper=helper),
            authority=prompts,
            audit=self._audit,
            events=self._events,
            unit_log=UnitJournal(),
            guard=guard,
            leftovers=Leftovers(machines),
        )
        device_records = DeviceRecords()
        self._devices = Devices(
            containers=self._containers.all,
            never=self._never,
            host=UdevDevices(helper),
            nodes=ContainerNodes(),
            maker=helper,
            units=self._units,
            shown=shown,
            records=device_records,
            audit=self._audit,
            events=self._events,
        )
        grants = Grants(containers=self._containers, devices=self._devices, records=device_records)
        files = StateFiles()
        self._apps = Apps(
            containers=self._containers, files=files, store=self._store, audit=self._audit, events=self._events
        )
        self._recovery = Recovery(containers=self._containers, apps=self._apps, files=files, store=self._store)
        self._logins = LoginWatch(logins := Logind(connection))
        self._logout = Logout(sessions=self._sessions, containers=self._containers, logins=logins, watch=self._logins)
        self._autostart = Autostart(containers=self._containers, logins=self._logins)
        windows = Windows(self._reconciler.sockets, used_by)
        self._idle = Idle(containers=self._containers, apps=self._apps, windows=windows)
        self._events.listen(self._idle)
        launcher = Launcher(
            containers=self._containers,
            apps=self._apps,
            prepare=Prepare(GuestFiles()),
            reconciler=self._reconciler,
            devices=self._devices,
            activation=activation,
            starter=AppStarter(
                apps=self._apps,
                terminals=helper,
                sessions=self._sessions,
                store=self._store,
                environments=self._environments,
                directories=HostDirectories(),
            ),
            sessions=self._sessions,
        )
        self._policy = PolicyInForce(
            directory=directory,
            loaded=loaded,
            containers=self._containers,
            apps=self._apps,
            reconciler=self._reconciler,
            devices=self._devices,
            idle=self._idle,
            audit=self._audit,
        )
        self._containers.look_at_sessions = self._policy.keepers.look_at
        x_servers = XServerUnits(
            units=self._units,
            sessions=self._sessions,
            reconciler=self._reconciler,
            render_nodes=lambda container: self._devices.nodes(container, "gpu"),
            program=str(Path(sys.argv[0]).resolve().parent / "isod-xserver"),
            systemd_version=self._units.version,
        )
        inspector = Inspector(
            containers=self._containers,
            reconciler=self._reconciler,
            sessions=self._sessions,
            units=self._units,
            directories=directories,
            surveyor=Survey(),
            guard=guard,
            devices=self._devices,
            look_at_policy=self._policy.look,
        )
        self._endpoint = Endpoint(
            connection=connection,
            services=Services(
                containers=ContainerFront(
                    self._containers, self._apps, self._reconciler, self._devices, grants, self._sessions, x_servers
                ),
                apps=self._apps,
                launcher=launcher,
                sessions=self._sessions,
                checks=inspector,
                explain=self._explain,
                reload=self._policy.reload,
                read_history=JournalHistory().read,
            ),
            callers=callers,
            prompts=prompts,
            audit=self._audit,
            paced=paced,
            limits=self._limits,
            accountable=accountable,
        )
        self._events.listen(self._endpoint.subscriptions)

    async def open(self) -> None:
        """Take over what an earlier isod left, follow the containers, then claim the name. Raises BelowFloor."""
        floor.check({"systemd": await self._units.version()})
        self._policy.tell()
        await self._units.open()
        self._devices.open()
        await self._containers.open(self._recovery.begin())
        self._recovery.finish()
        self._environments.sweep(self._apps.starting())
        self._reconciler.recover()
        self._store.drop_rest()
        await self._logins.open()
        # Callers come only when everything is in place.
        await self._endpoint.open()
        await self._connection.request_name(BUS_NAME)

    async def close(self) -> None:
        """Stop answering; apps and containers live on."""
        await self._endpoint.close()
        await self._devices.close()
        await self._containers.close()

    def _limits(self, uid: int) -> Limits:
        return self._containers.policy.settings.limits.of(uid)

    def _never(self) -> Mapping[str, Iterable[str]]:
        return self._containers.policy.settings.never.forbidden()

    def _is_container_unit(self, unit: str) -> bool:
        return looks_like_container_unit(unit) or self._containers.is_unit_of_one(unit)

    async def forget_restarts(self) -> None:
        """Tell systemd that this start is a good one, so that the next restart is as quick as the first."""
        try:
            await self._units.forget_restarts(_UNIT)
        except HostSilent as error:
            self._log.info("restarts.not_forgotten", reason=str(error))

    def tell_counters(self) -> None:
        """Log what is held and how long a turn of the loop took at most since this was asked last."""
        apps = self._apps.visible(Caller(sender="", uid=0, user="root"))
        self._log.info(
            "daemon.counters", **counters.read(self._containers.all(), apps, self._reconciler.sockets_held())
        )

    async def _explain(
        self, container: Any, action: str, caller: Caller, options: ExplainOptions
    ) -> Mapping[str, object]:
        decision = decide(
            container.policy,
            caller,
            Verb(action),
            container.name,
            account=options.user,
            others_running=self._containers.others_running(container, caller),
        )
        outcome = "asked" if decision.outcome is Outcome.ASK else str(decision.outcome)
        result = {"outcome": outcome, "rule": decision.rule, "reason": decision.reason}
        return result | ({"action": decision.action.id} if decision.action else {})


async def _heartbeat() -> None:
    """Feed systemd's watchdog; also the proof that the loop still turns."""
    interval_usec = int(os.environ.get("WATCHDOG_USEC", "0"))
    if not interval_usec:
        return
    while True:
        daemon.notify("WATCHDOG=1")
        await asyncio.sleep(interval_usec / 2_000_000)


async def run(address: str = "", directory: Path = DIRECTORY) -> int:
    """Serve until SIGTERM (0) or the loss of the bus (75)."""
    started_sec = time.monotonic()
    accountable = SubordinateIds().accountable
    journal = Journal(accountable=accountable)
    log.configure(journal=journal if log.under_systemd() else None)
    connection = await connect(
        address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", _SYSTEM_BUS), caps=SYSTEM_BUS_CAPS, name="system bus"
    )
    isod = Daemon(connection, directory, journal, accountable)
    try:
        await isod.open()
    except floor.BelowFloor:
        await connection.close()
        raise
    log.logger().info("daemon.ready", duration_ms=round((time.monotonic() - started_sec) * 1000))
    daemon.notify("READY=1")
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, isod.tell_counters)
    heartbeat = loop.create_task(_heartbeat())
    settled = loop.create_task(isod.forget_restarts())
    lost = loop.create_task(connection.wait_closed())
    wanted = loop.create_task(stop.wait())
    await asyncio.wait({lost, wanted}, return_when=asyncio.FIRST_COMPLETED)
    daemon.notify("STOPPING=1")
    heartbeat.cancel()
    settled.cancel()
    await isod.close()
    if wanted.done():
        await connection.close()
        return 0
    log.logger().error("bus.lost")
    return _EXIT_BUS_LOST
