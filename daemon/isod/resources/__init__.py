"""The kinds of host resources: one module a kind, found by being there."""

import importlib
import pkgutil
from functools import cache

from isod.resources.base import DeviceKind, GrantValue, Resource

__all__ = ["DeviceKind", "GrantValue", "Resource", "device_kinds", "kinds", "owned_variables"]


@cache
def kinds() -> dict[str, type[Resource]]:
    """Give every kind by its key, in the order of the keys; raises TypeError if two modules share one."""
    found: dict[str, type[Resource]] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for item in vars(module).values():
            # A kind that is only imported into another's module belongs to its own.
            if not (isinstance(item, type) and issubclass(item, Resource) and item.__module__ == module.__name__):
                continue
            if item in (Resource, DeviceKind):
                continue
            if item.key in found:
                raise TypeError(f"resource kind {item.key!r} is declared twice")
            found[item.key] = item
    return dict(sorted(found.items()))


@cache
def owned_variables() -> dict[str, str]:
    """Give the environment variables that belong to a kind, each with the kind's key."""
    return {variable: key for key, kind in kinds().items() for variable in kind.variables}


@cache
def device_kinds() -> dict[str, type[DeviceKind]]:
    """Give the kinds that are device nodes, by key."""
    return {key: kind for key, kind in kinds().items() if issubclass(kind, DeviceKind)}
