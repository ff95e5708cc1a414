"""What a systemd manager says of its units, by one match rule for all of them: a bus allows few rules a connection."""

from collections.abc import Callable
from typing import Any, Protocol

from isod.host.unitpath import PROPERTIES_INTERFACE, SYSTEMD, SYSTEMD_PATH, unit_path
from isod_wire import MatchRule, Message

Changed = Callable[[dict[str, Any]], None]


class Signals(Protocol):
    """A connection, as far as it is used here."""

    async def add_match(self, rule: MatchRule, handler: Callable[[Message], None]) -> object:
        """Have the handler called with each signal that the rule wants."""


class UnitSignals:
    """Passes the PropertiesChanged of each unit on to those who watch it.

    dbus-daemon's default is 512 rules a connection (dbus-daemon(1), max_match_rules_per_connection), so a rule a unit
    would let no more apps run in a container than that. Signals of units that nobody watches are never decoded.
    """

    def __init__(self, connection: Signals) -> None:
        """Take the connection over which the manager is reached."""
        self._connection = connection
        self._watchers: dict[str, list[Changed]] = {}

    async def open(self) -> None:
        """Add the rule; units are heard of from then on. Raises WireError."""
        await self._connection.add_match(
            MatchRule(
                sender=SYSTEMD,
                path_namespace=f"{SYSTEMD_PATH}/unit",
                interface=PROPERTIES_INTERFACE,
                member="PropertiesChanged",
            ),
            self._on_signal,
        )

    def watch(self, unit: str, changed: Changed) -> Callable[[], None]:
        """Pass on what changes of a unit, as plain values that are untrusted; gives what ends that."""
        path = unit_path(unit)
        self._watchers.setdefault(path, []).append(changed)

        def end() -> None:
            watchers = self._watchers.get(path, [])
            if changed in watchers:
                watchers.remove(changed)
            if not watchers:
                self._watchers.pop(path, None)

        return end

    def watched(self) -> list[str]:
        """Give the paths of the units that somebody watches."""
        return list(self._watchers)

    def tell(self, path: str, properties: dict[str, Any]) -> None:
        """Pass on what was read of a unit, where a signal may have been missed."""
        for changed in list(self._watchers.get(path, [])):
            changed(properties)

    def _on_signal(self, message: Message) -> None:
        watchers = self._watchers.get(message.path or "")
        if not watchers or message.signature != "sa{sv}as":
            return
        properties = {key: variant.value for key, variant in message.body[1].items()}
        for changed in list(watchers):
            changed(properties)
