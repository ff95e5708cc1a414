"""Reading an object's properties at once (D-Bus specification, "Standard Interfaces")."""

from typing import Any

from isod.host.bus_calls import BusCalls
from isod.host.unitpath import PROPERTIES_INTERFACE


async def read_properties(
    connection: BusCalls, destination: str, path: str, interface: str, *, timeout_sec: float
) -> dict[str, Any]:
    """Give all properties of one interface as plain values. Raises WireError."""
    with await connection.call(
        destination, path, PROPERTIES_INTERFACE, "GetAll", "s", [interface], timeout_sec=timeout_sec, expect="a{sv}"
    ) as reply:
        return {key: variant.value for key, variant in reply.body[0].items()}
