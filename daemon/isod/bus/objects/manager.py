"""org.isoctl1.Manager on the bus."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from isod.bus.app_lists import AppLists
from isod.bus.objects.container import ContainerObject
from isod.bus.request import Handler, Reply, Request
from isod.bus.services import Services
from isod.bus.signals import Subscriptions
from isod.bus.values import typed, variants
from isod.core.shorten import shortened, size_of, that_fit
from isod_contract import VERSION, limits, names
from isod_contract.records import HISTORY_FIELDS
from isod_wire import Variant

_RECORD_BYTES = 400  # on the wire, without what is counted
_LISTED_APPS = 20


class ManagerObject:
    """Passes the methods of the root object on."""

    def __init__(
        self,
        *,
        services: Services,
        subscriptions: Subscriptions,
        container_object: ContainerObject,
        lists: AppLists,
    ) -> None:
        """Take the core's services, the object whose properties the list of containers holds, and lists of apps."""
        self._services = services
        self._subscriptions = subscriptions
        self._container_object = container_object
        self._lists = lists

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Give the handler of each method."""
        return {
            (names.MANAGER, "ListContainers"): self._list_containers,
            (names.MANAGER, "GetContainer"): self._get_container,
            (names.MANAGER, "ListApps"): self._list_apps,
            (names.MANAGER, "ListAppsAfter"): self._list_apps_after,
            (names.MANAGER, "GetApp"): self._get_app,
            (names.MANAGER, "Run"): self._run,
            (names.MANAGER, "Explain"): self._explain,
            (names.MANAGER, "History"): self._history,
            (names.MANAGER, "Reload"): self._reload,
            (names.MANAGER, "Check"): self._check,
            (names.MANAGER, "Subscribe"): self._subscribe,
            (names.MANAGER, "Unsubscribe"): self._unsubscribe,
            (names.MANAGER, "RegisterSession"): self._register_session,
            (names.MANAGER, "OpenDisplay"): self._open_display,
            (names.MANAGER, "StartXServer"): self._start_x_server,
            (names.MANAGER, "StopXServer"): self._stop_x_server,
        }

    def properties(self) -> dict[str, Variant]:
        """Give all properties."""
        return {"Version": Variant("s", VERSION), "Features": Variant("as", list(self._services.features))}

    async def _list_containers(self, request: Request) -> Reply:
        entries = []
        for container in self._services.containers.visible(request.caller):
            values = self._container_object.properties(container, request.caller)
            # Each container's own object has them; of all containers they would not fit into a message.
            values["Apps"] = Variant("ao", values["Apps"].value[-_LISTED_APPS:])
            entries.append([names.container_path(container.name), values])
        return Reply([entries])

    async def _get_container(self, request: Request) -> Reply:
        return Reply([names.container_path(request.target.name)])

    async def _list_apps(self, request: Request) -> Reply:
        return self._lists.newest(request.caller)

    async def _list_apps_after(self, request: Request) -> Reply:
        return self._lists.after(request.caller, request.arguments[0], request.arguments[1])

    async def _get_app(self, request: Request) -> Reply:
        return Reply([names.app_path(request.target.id)])

    async def _run(self, request: Request) -> Reply:
        # Nothing may be awaited here: until launch() has them, the descriptors in the options have no owner.
        app = self._services.launcher.launch(request.caller, request.target, request.arguments[1], request.options)
        self._subscriptions.follow(request.caller, app.id)
        return Reply([names.app_path(app.id)])

    async def _explain(self, request: Request) -> Reply:
        decision = await self._services.explain(request.target, request.arguments[1], request.caller, request.options)
        return Reply([variants(decision)])

    async def _history(self, request: Request) -> Reply:
        wanted = request.options
        if wanted.limit is None:
            wanted = replace(wanted, limit=limits.HISTORY_RECORDS_DEFAULT)
        records = await self._services.read_history(request.caller, wanted)
        entries = that_fit(_history_entry(record) for record in reversed(records))
        return Reply([entries[::-1]])

    async def _reload(self, request: Request) -> Reply:
        changes = await self._services.reload(request.caller, bool(request.options.dry_run))
        return Reply([[variants(change) for change in changes]])

    async def _check(self, request: Request) -> Reply:
        found = await self._services.checks.host(request.caller, request.options)
        return Reply([[variants(item._asdict()) for item in found]])

    async def _subscribe(self, request: Request) -> Reply:
        self._subscriptions.subscribe(request.caller)
        return Reply()

    async def _unsubscribe(self, request: Request) -> Reply:
        self._subscriptions.unsubscribe(request.caller.sender)
        return Reply()

    async def _register_session(self, request: Request) -> Reply:
        self._services.sessions.register(request.caller, request.options)
        return Reply()

    async def _open_display(self, request: Request) -> Reply:
        sockets = await self._services.containers.open_display(request.target, request.caller)
        indices = {key: Variant("h", index) for index, key in enumerate(sockets)}
        if nodes := self._services.containers.render_nodes(request.target):
            indices["render-nodes"] = Variant("as", list(nodes))
        return Reply([indices], fds=tuple(sockets.values()))

    async def _start_x_server(self, request: Request) -> Reply:
        await self._services.containers.start_x_server(request.target, request.caller, request.options.control)
        return Reply()

    async def _stop_x_server(self, request: Request) -> Reply:
        await self._services.containers.stop_x_server(request.target, request.caller)
        return Reply()


def _history_entry(record: Mapping[str, Any]) -> tuple[int, dict[str, Variant]]:
    command = shortened(record.get("argv", ()))
    values = {**record, "argv": command} if "argv" in record else record
    texts = (value for value in record.values() if isinstance(value, str))
    return size_of((*command, *texts), _RECORD_BYTES), typed(values, HISTORY_FIELDS)
