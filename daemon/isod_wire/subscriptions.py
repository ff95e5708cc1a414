"""Subscribing to signals so that none is missed and none is believed that the named sender did not send."""

from isod_wire.calls import BUS_NAME
from isod_wire.driver import BusDriver
from isod_wire.errors import TooLarge
from isod_wire.match import Handler, Match, MatchRule, MatchTable, OwnerOf, Predicate
from isod_wire.message import Message
from isod_wire.owners import OwnerTable
from isod_wire.syntax import is_unique_name


class Subscriptions:
    """The matches of one connection and the owners of the names in them."""

    def __init__(self, driver: BusDriver) -> None:
        """Start empty, without a bus."""
        self._driver = driver
        self._table = MatchTable()
        self._owners = OwnerTable(self.add_rule, driver.name_owner)
        self._on_bus = False

    def use_bus(self) -> None:
        """Send rules to the bus and check senders from now on."""
        self._on_bus = True

    def end(self) -> None:
        """Send nothing any more; the handlers stay registered but are never called."""
        self._on_bus = False

    def dispatch(self, signal: Message) -> bool:
        """Give a signal to its handlers; False if nobody asked for it."""
        return self._table.dispatch(signal)

    async def add_text(self, rule_text: str, handler: Handler, predicate: Predicate) -> Match:
        """Send `rule_text` to the bus as it is and let `predicate` decide."""
        return await self._register(Match(rule_text, None, handler, predicate, self._remove))

    async def add_rule(self, rule: MatchRule, handler: Handler, predicate: Predicate | None = None) -> Match:
        """Register a rule whose sender is checked here too; a well-known one by following its owner."""
        followed = rule.sender if self._needs_owner(rule.sender) else None
        owner_of: OwnerOf | None = self._owners.owner_of if self._on_bus else None

        def wants(message: Message) -> bool:
            return rule.matches(message, owner_of) and (predicate is None or predicate(message))

        def remove(match: Match) -> None:
            self._remove(match)
            if followed:
                self._owners.release(followed)

        if followed:
            await self._owners.follow(followed)
        try:
            return await self._register(Match(rule.text(), rule.path, handler, wants, remove))
        except BaseException:
            if followed:
                self._owners.release(followed)
            raise

    async def _register(self, match: Match) -> Match:
        # Before AddMatch goes out: the first signal may follow its reply within the same read.
        self._table.add(match)
        try:
            if self._on_bus:
                await self._driver.add_match(match.rule_text)
        except BaseException:
            # Cancelled or timed out, the bus may still have the rule. If it refused, taking it back does no harm.
            self._remove(match)
            raise
        return match

    def _remove(self, match: Match) -> None:
        self._table.discard(match)
        if self._on_bus:
            try:
                self._driver.remove_match(match.rule_text)
            except TooLarge:
                # The queue to the bus is full; a rule too many only costs signals that nobody wants.
                return

    def _needs_owner(self, sender: str | None) -> bool:
        return bool(self._on_bus and sender and sender != BUS_NAME and not is_unique_name(sender))
