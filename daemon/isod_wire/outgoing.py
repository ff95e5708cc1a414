"""One message on its way out."""

from collections.abc import Callable, Hashable

from isod_wire.fds import FdSet


class Outgoing:
    """An encoded message, with its own copies of the descriptors."""

    __slots__ = ("data", "destination", "dropped", "fds", "lane", "on_unsendable", "sent_bytes")

    def __init__(
        self,
        data: bytes | bytearray,
        destination: str | None,
        fds: FdSet,
        on_unsendable: Callable[[], None] | None = None,
    ) -> None:
        """Take over `fds`; `on_unsendable` is called if the kernel refuses to pass them."""
        self.data = data
        self.destination = destination
        self.fds = fds
        self.on_unsendable = on_unsendable
        self.lane: Hashable = None  # whom it shares its place in the queue with
        self.sent_bytes = 0
        self.dropped = False

    def drop(self) -> None:
        """Don't send it after all, unless its first byte is out already."""
        self.dropped = True
