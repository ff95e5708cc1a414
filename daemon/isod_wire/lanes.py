"""Messages that wait to be sent, in a lane for each party: none waits behind all that another one is to be sent."""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable

from isod_wire.outgoing import Outgoing


class Lanes:
    """Gives messages one from each lane in turn; in a lane they keep their order."""

    def __init__(self) -> None:
        """Start empty."""
        self._lanes: OrderedDict[Hashable, deque[Outgoing]] = OrderedDict()

    def __bool__(self) -> bool:
        """Tell whether any waits."""
        return bool(self._lanes)

    def push(self, item: Outgoing) -> None:
        """Put a message at the end of its lane."""
        self._lanes.setdefault(item.lane, deque()).append(item)

    def take(self, count_max: int, bytes_max: int) -> list[Outgoing]:
        """Take the next messages: as many as fit, but at least one if there is any."""
        taken: list[Outgoing] = []
        size = 0
        while self._lanes and len(taken) < count_max and (not taken or size < bytes_max):
            lane, items = self._lanes.popitem(last=False)
            item = items.popleft()
            taken.append(item)
            size += len(item.data)
            if items:
                # Behind the other lanes: its next turn comes after theirs.
                self._lanes[lane] = items
        return taken

    def give_back(self, items: Iterable[Outgoing]) -> None:
        """Put back what was taken and not sent, the last first."""
        for item in items:
            self._lanes.setdefault(item.lane, deque()).appendleft(item)
            self._lanes.move_to_end(item.lane, last=False)

    def clear(self) -> list[Outgoing]:
        """Take all, in no order."""
        items = [item for lane in self._lanes.values() for item in lane]
        self._lanes.clear()
        return items
