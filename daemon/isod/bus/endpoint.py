"""The bus side put together, so that the composition root has one thing to open and close."""

from collections.abc import Callable

from isod.bus.caller import Callers, looks_like_container_unit
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
from isod.ports import AuditSink, Authority, HostUnits
from isod_contract import limits
from isod_wire import Connection


class Endpoint:
    """isod on the system bus.

    `callers` tells the core who is still there; `subscriptions` listens to the core's events.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        services: Services,
        units: HostUnits,
        authority: Authority,
        audit: AuditSink,
        is_container_unit: Callable[[str], bool] = looks_like_container_unit,
        subscriptions_per_uid: Callable[[], int] = lambda: limits.SUBSCRIPTIONS_PER_UID,
        callers: Callers | None = None,
    ) -> None:
        """Build all parts.

        With `callers`, made before so that the core can use them, `authority` is taken as it is, and should be the
        Prompts that the core asks too.
        """
        self.callers = callers or Callers(connection=connection, units=units, is_container_unit=is_container_unit)
        if callers is None:
            authority = Prompts(callers=self.callers, authority=authority)
        container_object = ContainerObject(containers=services.containers, apps=services.apps)
        app_object = AppObject(apps=services.apps)
        self.subscriptions = Subscriptions(
            connection=connection,
            containers=services.containers,
            container_object=container_object,
            app_object=app_object,
            per_uid_max=subscriptions_per_uid,
        )
        manager_object = ManagerObject(
            services=services,
            subscriptions=self.subscriptions,
            container_object=container_object,
            app_object=app_object,
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
            authority=authority,
            decisions=Decisions(audit=audit),
            call_limits=CallLimits(),
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
