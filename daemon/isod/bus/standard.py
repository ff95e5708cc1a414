"""The standard interfaces on our objects: Properties (read only), Introspectable and Peer, filtered by caller."""

from typing import Any

from isod.bus.introspection import object_xml
from isod.bus.objects.app import AppObject
from isod.bus.objects.container import ContainerObject
from isod.bus.objects.manager import ManagerObject
from isod.bus.refusal import RefusedError
from isod.bus.request import Reply
from isod.bus.route import GET, GET_ALL, INTROSPECT, Kind, Route
from isod.bus.services import Services
from isod.bus.values import Variants
from isod.ports import Caller
from isod_contract import names
from isod_contract.methods import PROPERTIES

_SIGNATURES = {(item.interface, item.name): item.signature for item in PROPERTIES}
_STANDARD_INTERFACES = frozenset({names.PROPERTIES, names.INTROSPECTABLE, names.PEER})


class StandardInterfaces:
    """Answers Get, GetAll, Introspect and Ping."""

    def __init__(
        self,
        *,
        services: Services,
        manager_object: ManagerObject,
        container_object: ContainerObject,
        app_object: AppObject,
    ) -> None:
        """Take the objects and, for the names below a branch, the core."""
        self._services = services
        self._manager_object = manager_object
        self._container_object = container_object
        self._app_object = app_object

    def answer(self, route: Route, target: Any, caller: Caller, body: list[Any]) -> tuple[str, Reply]:
        """Give the reply's signature and values; raises RefusedError for an interface or property that is not there."""
        if route.member == GET:
            return "v", Reply([self._get(route.kind, target, caller, body[0], body[1])])
        if route.member == GET_ALL:
            return "a{sv}", Reply([self._get_all(route.kind, target, caller, body[0])])
        if route.member == INTROSPECT:
            return "s", Reply([object_xml(route.kind, self._children(route, caller))])
        return "", Reply()

    def _get(self, kind: Kind, target: Any, caller: Caller, untrusted_interface: str, untrusted_name: str) -> Any:
        if untrusted_interface != kind:
            raise RefusedError("UnknownInterface", "No such interface here")
        if (kind, untrusted_name) not in _SIGNATURES:
            raise RefusedError("UnknownProperty", "No such property here")
        return self._properties(kind, target, caller)[untrusted_name]

    def _get_all(self, kind: Kind, target: Any, caller: Caller, untrusted_interface: str) -> Variants:
        if untrusted_interface in _STANDARD_INTERFACES:
            return {}
        if untrusted_interface not in {kind, ""}:
            raise RefusedError("UnknownInterface", "No such interface here")
        return self._properties(kind, target, caller)

    def _properties(self, kind: Kind, target: Any, caller: Caller) -> Variants:
        if kind is Kind.CONTAINER:
            return self._container_object.properties(target, caller)
        if kind is Kind.APP:
            return self._app_object.properties(target)
        return self._manager_object.properties()

    def _children(self, route: Route, caller: Caller) -> list[str]:
        match route.kind, route.untrusted_name:
            case Kind.MANAGER, _:
                return ["container", "app"]
            case Kind.BRANCH, "/":
                return ["org"]
            case Kind.BRANCH, "/org":
                return [names.ROOT_PATH.removeprefix("/org/")]
            case Kind.BRANCH, path if path + "/" == names.CONTAINER_PATH_PREFIX:
                return [names.escape_label(item.name) for item in self._services.containers.visible(caller)]
            case Kind.BRANCH, _:
                return [item.id for item in self._services.apps.visible(caller)]
        return []
