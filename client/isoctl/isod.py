"""Calls to isod that several verbs make."""

import time

from isoctl import wire
from isoctl.contract_generated import APP_PATH_PREFIX, MANAGER, PROPERTIES, ROOT_PATH
from isoctl.marshal import plain
from isod_contract.names import is_app_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNITS_SEC = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def manager(bus: wire.Bus, member: str, signature: str = "", *body: "Any", timeout_sec: float = 20.0) -> "Any":
    """Call a Manager method; gives its first value, if any, without variants."""
    reply = bus.call(ROOT_PATH, MANAGER, member, signature, body, timeout_sec=timeout_sec)
    return plain(reply.body[0]) if reply.body else None


def objects(bus: wire.Bus, member: str) -> "list[dict[str, Any]]":
    """Give the properties of all containers (ListContainers), with lower-case keys."""
    return [{key.lower(): value for key, value in values.items()} for _, values in manager(bus, member)]


def apps(bus: wire.Bus) -> "list[dict[str, Any]]":
    """Give the properties of all apps that the caller may see, page by page, the oldest first."""
    found: list[dict[str, Any]] = []
    after: tuple[int, str] = (0, "")
    while True:
        reply = bus.call(ROOT_PATH, MANAGER, "ListAppsAfter", "ts", after)
        page, more = plain(reply.body[0]), reply.body[1]
        found += [{key.lower(): value for key, value in values.items()} for _, values in page]
        if not more or not page:
            return found
        after = (found[-1]["startedusec"], found[-1]["id"])


def container_path(bus: wire.Bus, name: str) -> str:
    """Give the object path of a container. Raises RemoteError for one that is not there."""
    return str(manager(bus, "GetContainer", "s", name))


def properties(bus: wire.Bus, path: str, interface: str) -> "dict[str, Any]":
    """Read all properties of an object."""
    values = plain(bus.call(path, PROPERTIES, "GetAll", "s", (interface,)).body[0])
    assert isinstance(values, dict)
    return values


def find_apps(bus: wire.Bus, untrusted_name: str) -> list[str]:
    """Give the ids of the apps that a prefix, or CONTAINER/PREFIX, means. Raises UsageError unless it is one."""
    from isoctl.cli import UsageError

    container, _, prefix = untrusted_name.rpartition("/")
    if not container and is_app_id(prefix):
        # isod knows it or not; there is no need to read a list of all for that.
        return [prefix]
    found = [app["id"] for app in apps(bus) if app["id"].startswith(prefix) and container in ("", app["container"])]
    if not prefix or len(found) != 1:
        what = "is no app's ID" if not prefix else f"means {len(found) or 'no'} app{'s' if found else ''}"
        message = f"{untrusted_name!r} {what}; `isoctl ps` shows them"
        raise UsageError(message)
    return found


def app_object(app_id: str) -> str:
    """Give the object path of an app."""
    return APP_PATH_PREFIX + app_id


def since_usec(text: str) -> int:
    """Read `10m`, `2h`, `today` or seconds since 1970, as microseconds since 1970. Raises UsageError."""
    from isoctl.cli import UsageError

    now = time.time()
    if text == "today":
        day = time.localtime(now)
        return int(time.mktime((day.tm_year, day.tm_mon, day.tm_mday, 0, 0, 0, 0, 0, -1)) * 1_000_000)
    if text[:-1].isdigit() and text[-1:] in _UNITS_SEC:
        return int((now - int(text[:-1]) * _UNITS_SEC[text[-1]]) * 1_000_000)
    if text.removeprefix("@").isdigit():
        return int(text.removeprefix("@")) * 1_000_000
    message = f"--since: {text!r} is none of 30s, 10m, 2h, 3d, today, @SECONDS"
    raise UsageError(message)
