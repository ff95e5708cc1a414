"""What an app uses, as the container's own systemd counts it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from isod_contract.errors import ContainerGone
from isod_contract.limits import GUEST_CALL_TIMEOUT_SEC

_UNKNOWN = 2**64 - 1  # systemd's word for a number that it does not have


async def usage_of(guest: Any, unit: str) -> dict[str, int]:
    """Give processor time, memory and tasks of a unit. Raises ContainerGone."""
    values = await guest.unit_properties(unit, "Scope" if unit.endswith(".scope") else "Service")
    names = {"cpu_usec": "CPUUsageNSec", "memory_bytes": "MemoryCurrent", "tasks": "TasksCurrent"}
    numbers = {key: values.get(name, 0) for key, name in names.items()}
    clean = {key: 0 if not isinstance(v, int) or v >= _UNKNOWN else v for key, v in numbers.items()}
    return clean | {"cpu_usec": clean["cpu_usec"] // 1000}


async def usage_of_all(
    guest: Any, container: str, units: Sequence[str], turn: Callable[[], Any]
) -> list[dict[str, int]]:
    """Give that of many units, each asked for in its turn. Raises ContainerGone."""

    async def of_one(unit: str) -> dict[str, int]:
        async with turn():
            return await usage_of(guest, unit)

    # At once: where the container does not answer, all of them together cost one deadline.
    try:
        async with asyncio.timeout(GUEST_CALL_TIMEOUT_SEC):
            return await asyncio.gather(*map(of_one, units))
    except TimeoutError:
        raise ContainerGone(container=container, reason="it does not answer in time") from None
