"""What a container's systemd says of its units, on real brokers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from buses import Bus
from isod.host.unit_signals import UnitSignals
from isod.host.unitpath import PROPERTIES_INTERFACE, SYSTEMD, UNIT_INTERFACE, unit_path
from isod_side import until
from isod_wire import CONTAINER_CAPS, SYSTEM_BUS_CAPS, Connection, Variant, connect


@pytest_asyncio.fixture
async def ends(bus: Bus) -> AsyncIterator[tuple[Connection, Connection]]:
    """A systemd, and isod's connection to the bus that both are on."""
    systemd = await connect(bus.address, caps=SYSTEM_BUS_CAPS)
    isod = await connect(bus.address, caps=CONTAINER_CAPS)
    await systemd.request_name(SYSTEMD)
    yield systemd, isod
    await isod.close()
    await systemd.close()


def tell(systemd: Connection, unit: str, **properties: Any) -> None:
    values = {key: Variant("s", value) for key, value in properties.items()}
    body = [UNIT_INTERFACE, values, []]
    systemd.emit(unit_path(unit), PROPERTIES_INTERFACE, "PropertiesChanged", "sa{sv}as", body)


@pytest.mark.attack("C45")
async def test_any_number_of_units_is_followed_by_one_match_rule(ends: tuple[Connection, Connection]) -> None:
    """F2: dbus-daemon refuses the 513th rule of a connection, and with it every further launch in the container."""
    systemd, isod = ends
    signals = UnitSignals(isod)
    await signals.open()
    heard: list[tuple[int, str]] = []

    def watch(number: int) -> Callable[[], None]:
        return signals.watch(f"isoctl-app-{number}.service", lambda changed: heard.append((number, changed["A"])))

    stops = [watch(number) for number in range(2000)]
    for number in range(0, 2000, 500):
        tell(systemd, f"isoctl-app-{number}.service", A=str(number))
    tell(systemd, "sshd.service", A="not watched")
    await until(lambda: len(heard) == 4)
    assert heard == [(number, str(number)) for number in range(0, 2000, 500)]
    for stop in stops:
        stop()
        stop()
    tell(systemd, "isoctl-app-0.service", A="late")
    await asyncio.sleep(0.05)
    assert len(heard) == 4


async def test_two_may_watch_one_unit_and_only_its_systemd_is_heard(
    bus: Bus, ends: tuple[Connection, Connection]
) -> None:
    systemd, isod = ends
    signals = UnitSignals(isod)
    await signals.open()
    heard: list[str] = []
    stop = signals.watch("a.service", lambda changed: heard.append("1" + changed["A"]))
    signals.watch("a.service", lambda changed: heard.append("2" + changed["A"]))
    stranger = await connect(bus.address, caps=SYSTEM_BUS_CAPS)
    body = [UNIT_INTERFACE, {"A": Variant("s", "forged")}, []]
    stranger.emit(
        unit_path("a.service"),
        PROPERTIES_INTERFACE,
        "PropertiesChanged",
        "sa{sv}as",
        body,
        destination=isod.unique_name,
    )
    await stranger.close()
    tell(systemd, "a.service", A="x")
    await until(lambda: heard)
    stop()
    tell(systemd, "a.service", A="y")
    await until(lambda: len(heard) == 3)
    assert heard == ["1x", "2x", "2y"]


async def test_a_container_with_a_busy_systemd_is_not_taken_for_a_flood(ends: tuple[Connection, Connection]) -> None:
    """All units' signals come by one rule: a hundred units that come and go each second must not cut isod off."""
    systemd, isod = ends
    signals = UnitSignals(isod)
    await signals.open()
    heard: list[str] = []
    signals.watch("a.service", lambda changed: heard.append(changed["A"]))
    for turn in range(50):
        for number in range(100):
            tell(systemd, f"busy-{number}.service", A="active")
        await asyncio.sleep(0.02)
        assert not isod.closed, turn
    tell(systemd, "a.service", A="x")
    await until(lambda: heard)
