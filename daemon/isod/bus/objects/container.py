"""org.isoctl1.Container on the bus."""

from collections.abc import Iterable
from typing import Any

from isod.bus.request import Handler, Reply, Request
from isod.bus.services import AppService, CheckService, ContainerService, ContainerView
from isod.bus.values import variants
from isod.ports import Caller
from isod_contract import limits, names
from isod_contract.methods import PROPERTIES
from isod_contract.states import ENDED
from isod_wire import Variant


class ContainerObject:
    """Shows containers and passes their methods on."""

    def __init__(self, *, containers: ContainerService, apps: AppService, checks: CheckService) -> None:
        """Take the core's containers, apps and checks."""
        self._containers = containers
        self._apps = apps
        self._checks = checks

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Give the handler of each method."""
        return {
            (names.CONTAINER, "Start"): self._start,
            (names.CONTAINER, "Stop"): self._stop,
            (names.CONTAINER, "Restart"): self._restart,
            (names.CONTAINER, "Grant"): self._grant,
            (names.CONTAINER, "Revoke"): self._revoke,
            (names.CONTAINER, "OpenLog"): self._open_log,
            (names.CONTAINER, "GetUsage"): self._get_usage,
            (names.CONTAINER, "ListApplications"): self._list_applications,
            (names.CONTAINER, "ListApplicationsFor"): self._list_applications_for,
            (names.CONTAINER, "Check"): self._check,
        }

    def properties(
        self, container: ContainerView, caller: Caller, wanted: Iterable[str] | None = None
    ) -> dict[str, Variant]:
        """Give all properties as `caller` sees them, or only those in `wanted`."""
        return {key: self._property(container, caller, key) for key in (_PROPERTIES if wanted is None else wanted)}

    def _property(self, container: ContainerView, caller: Caller, key: str) -> Variant:
        match key:
            case "Name":
                return Variant("s", container.name)
            case "State":
                return Variant("s", str(container.state))
            case "Unit":
                return Variant("s", container.unit)
            case "User":
                return Variant("s", container.account_for(caller))
            case "Menu" | "Hints":
                return Variant("as", list(container.menu() if key == "Menu" else container.hints()))
            case "Grants":
                return Variant("a{sv}", variants(container.grants()))
            case "Attachments":
                return Variant("aa{sv}", [variants(item) for item in self._containers.attachments(container, caller)])
            case "Apps":
                newest = self._live_apps(container, caller)[-limits.LIST_APPS_OF_CONTAINER_MAX :]
                return Variant("ao", [names.app_path(app.id) for app in newest])
            case "AppCount":
                return Variant("u", len(self._live_apps(container, caller)))
            case "Outdated":
                return Variant("b", container.is_outdated)
            case "Problem":
                return Variant("(ss)", list(container.problem_for(caller)))
        raise KeyError(key)

    def _live_apps(self, container: ContainerView, caller: Caller) -> list[Any]:
        return [
            app
            for app in self._apps.visible(caller)
            if app.container == container.name and (app.running or app.state not in ENDED)
        ]

    async def _start(self, request: Request) -> Reply:
        await self._containers.start(request.target, request.caller)
        return Reply()

    async def _stop(self, request: Request) -> Reply:
        await self._containers.stop(request.target, request.caller, force=bool(request.options.force))
        return Reply()

    async def _restart(self, request: Request) -> Reply:
        await self._containers.restart(request.target, request.caller, force=bool(request.options.force))
        return Reply()

    async def _grant(self, request: Request) -> Reply:
        await self._containers.grant(request.target, request.caller, request.arguments[0])
        return Reply()

    async def _revoke(self, request: Request) -> Reply:
        await self._containers.revoke(request.target, request.caller, tuple(dict.fromkeys(request.arguments[0])))
        return Reply()

    async def _open_log(self, request: Request) -> Reply:
        fd = await self._containers.open_log(request.target, request.caller, request.options)
        return Reply([0], fds=(fd,))

    async def _get_usage(self, request: Request) -> Reply:
        usage: Any = await self._containers.usage(request.target, request.caller)
        return Reply([[variants(item) for item in usage]])

    async def _list_applications(self, request: Request) -> Reply:
        found = await self._containers.applications(request.target, request.caller, None)
        # Who calls this one does not know that there are others.
        return Reply([[variants(item) for item in found if not item["terminal"]]])

    async def _list_applications_for(self, request: Request) -> Reply:
        found = await self._containers.applications(request.target, request.caller, request.options.hints)
        return Reply([[variants(item) for item in found]])

    async def _check(self, request: Request) -> Reply:
        found = await self._checks.container(request.target, request.caller, request.options)
        return Reply([[variants(item._asdict()) for item in found]])


_PROPERTIES = tuple(item.name for item in PROPERTIES if item.interface == names.CONTAINER)
