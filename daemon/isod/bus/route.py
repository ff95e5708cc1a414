"""Where a call wants to go, judged by its header alone: object, method, and whether the signature fits."""

from dataclasses import dataclass
from enum import StrEnum

from isod.bus.refusal import RefusedError
from isod_contract import names
from isod_contract.methods import METHOD_INDEX, Method
from isod_wire import Message

GET, GET_ALL, INTROSPECT, PING = "Get", "GetAll", "Introspect", "Ping"

_STANDARD = {
    (names.PROPERTIES, GET): "ss",
    (names.PROPERTIES, GET_ALL): "s",
    (names.INTROSPECTABLE, INTROSPECT): "",
    (names.PEER, PING): "",
}
_BRANCHES = ("/", "/org", names.CONTAINER_PATH_PREFIX[:-1], names.APP_PATH_PREFIX[:-1])


class Kind(StrEnum):
    """What an object path leads to; the value is its interface."""

    MANAGER = names.MANAGER
    CONTAINER = names.CONTAINER
    APP = names.APP
    BRANCH = ""


@dataclass(frozen=True, slots=True)
class Route:
    """A call that has a place to go; whether the object exists for the caller is not known yet."""

    kind: Kind
    untrusted_name: str  # of the container, id of the app, path of a branch
    member: str
    method: Method | None  # None: one of the standard methods, told by `member`


def shown_method(call: Message) -> str:
    """Give the method of a call as the audit names it: `Manager.Run`."""
    interface = (call.interface or "").removeprefix(names.BUS_NAME + ".").removeprefix("org.freedesktop.DBus.")
    return f"{interface}.{call.member}"


def route(call: Message) -> Route:
    """Find the place of a call; raises RefusedError for what no caller may ever do."""
    kind, untrusted_name = _object(call.path or "")
    key = (call.interface or "", call.member or "")
    method = METHOD_INDEX.get(key)
    signature = method.in_signature if method else _STANDARD.get(key)
    if key[0] == names.PROPERTIES and key[1] == "Set":
        raise RefusedError("PropertyReadOnly", "All properties are read-only")
    if signature is None or (method and method.interface != kind) or (key[1] in {GET, GET_ALL} and not kind):
        raise RefusedError("UnknownMethod", "No such method here")
    # Before the body is decoded: a body of another shape is never looked at.
    if call.signature != signature:
        raise RefusedError("InvalidArgs", f"The arguments must be of type '{signature}'")
    return Route(kind, untrusted_name, key[1], method)


def _object(untrusted_path: str) -> tuple[Kind, str]:
    if untrusted_path == names.ROOT_PATH:
        return Kind.MANAGER, ""
    if untrusted_path in _BRANCHES:
        return Kind.BRANCH, untrusted_path
    for kind, prefix in ((Kind.CONTAINER, names.CONTAINER_PATH_PREFIX), (Kind.APP, names.APP_PATH_PREFIX)):
        label = untrusted_path.removeprefix(prefix)
        if untrusted_path.startswith(prefix) and "/" not in label:
            name = names.unescape_label(label) if kind is Kind.CONTAINER else label
            # A label that names nothing leads, as any other, to "no such container".
            return kind, label if name is None else name
    raise RefusedError("UnknownObject", "No such object")
