"""The bus side put together, so that the composition root has one thing to open and close."""

from collections.abc import Callable

from isod.bus.app_lists import AppLists
from isod.bus.caller import Callers
from isod.bus.decisions import Decisions
from isod.bus.gate import Gate
from isod.bus.objects.app import AppObject
from isod.bus.objects.container import ContainerObject
from isod.bus.objects.manager import ManagerObject
from isod.bus.prompts import Prompts
from isod.bus.ratelimit import CallLimits
from isod.bus.services import Services
from isod.bus.signals import Subscriptions
from isod.bus.standard import StandardInterfaces
from isod.paced_audit import PacedAudit
from isod.ports import AuditSink
from isod.settings import Limits
from isod_wire import Connection


class Endpoint:
    """isod on the system bus.

    `subscriptions` listens to the core's events.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        services: Services,
        callers: Callers,
        prompts: Prompts,
        audit: AuditSink,
        paced: PacedAudit,
        limits: Callable[[int], Limits],
        accountable: Callable[[int], int],
    ) -> None:
        """Build all parts; `callers`, `prompts`, `paced` are those of the core too.

        `limits` gives those of a uid, `accountable` with whom it shares them (isod.subordinate_ids).
        """
        self.callers = callers
        container_object = ContainerObject(containers=services.containers, apps=services.apps, checks=services.checks)
        app_object = AppObject(apps=services.apps)
        self.subscriptions = Subscriptions(
            connection=connection,
            containers=services.containers,
            container_object=container_object,
            app_object=app_object,
            per_uid_max=lambda uid: limits(uid).subscriptions,
            accountable=accountable,
        )
        manager_object = ManagerObject(
            services=services,
            subscriptions=self.subscriptions,
            container_object=container_object,
            lists=AppLists(apps=services.apps, app_object=app_object, changes=lambda: self.subscriptions.app_changes),
        )
        self.gate = Gate(
            connection=connection,
            callers=self.callers,
            services=services,
            standard=StandardInterfaces(
                services=services,
                manager_object=manager_object,
                container_object=container_object,
                app_object=app_object,
            ),
            handlers={**manager_object.handlers(), **container_object.handlers(), **app_object.handlers()},
            authority=prompts,
            decisions=Decisions(audit=audit, paced=paced),
            call_limits=CallLimits(limits),
            accountable=accountable,
        )
        self.callers.on_gone(self.subscriptions.forget)
        self.callers.on_gone(services.sessions.forget)

    async def open(self) -> None:
        """Begin to answer; request the bus name after this, so that no call comes too early."""
        await self.callers.open()
        self.gate.open()

    async def close(self) -> None:
        """Stop answering and drop what is under way."""
        await self.gate.close()
        self.callers.close()
