"""Which unique name owns each well-known name that a match rule trusts."""

from collections.abc import Awaitable, Callable

from isod_wire.calls import BUS_NAME
from isod_wire.match import Handler, Match, MatchRule
from isod_wire.message import Message

AddMatch = Callable[[MatchRule, Handler], Awaitable[Match]]
GetOwner = Callable[[str], Awaitable[str | None]]


class _Tracked:
    """One name: its owner, whether the bus has told us, and how many rules use it."""

    __slots__ = ("match", "owner", "told", "users")

    def __init__(self) -> None:
        self.owner: str | None = None
        self.told = False
        self.users = 0
        self.match: Match | None = None


class OwnerTable:
    """Follows the owners of the names in use."""

    def __init__(self, add_match: AddMatch, get_owner: GetOwner) -> None:
        """Use the connection's own `add_match` and `get_owner`."""
        self._add_match = add_match
        self._get_owner = get_owner
        self._tracked: dict[str, _Tracked] = {}

    def owner_of(self, name: str) -> str | None:
        """Return the owner as of the last message read, None if there is none or the name is not followed."""
        tracked = self._tracked.get(name)
        return tracked.owner if tracked else None

    async def follow(self, name: str) -> None:
        """Follow `name` until release() was called as often; returns once its owner is known."""
        tracked = self._tracked.setdefault(name, _Tracked())
        tracked.users += 1
        try:
            if not tracked.told:
                await self._start(name, tracked)
        except BaseException:
            self.release(name)
            raise

    def release(self, name: str) -> None:
        """Give up one follow()."""
        tracked = self._tracked.get(name)
        if tracked is None:
            return
        tracked.users -= 1
        if tracked.users <= 0:
            del self._tracked[name]
            if tracked.match:
                tracked.match.remove()

    async def _start(self, name: str, tracked: _Tracked) -> None:
        def on_change(message: Message) -> None:
            if message.signature == "sss":
                tracked.owner, tracked.told = message.body[2] or None, True

        rule = MatchRule(
            sender=BUS_NAME, path="/org/freedesktop/DBus", interface=BUS_NAME, member="NameOwnerChanged", arg0=name
        )
        # First the match, then the question: a change in between is seen as a signal.
        match = await self._add_match(rule, on_change)
        if self._tracked.get(name) is not tracked or tracked.match:
            match.remove()  # released, or a second follow() was quicker
        else:
            tracked.match = match
        owner = await self._get_owner(name)
        # This task runs some time after the reply was read; a signal read meanwhile is newer and must stand.
        if not tracked.told:
            tracked.owner, tracked.told = owner, True
