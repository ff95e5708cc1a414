"""One received message: its checked header, its body decoded on demand, and the descriptors that came with it."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple, Self

from isod_wire.decode import decode_body
from isod_wire.fds import FdSet


class MessageKind(IntEnum):
    """Message types of the specification ("Message Format"); others are skipped."""

    METHOD_CALL = 1
    METHOD_RETURN = 2
    ERROR = 3
    SIGNAL = 4


KNOWN_KINDS = {int(kind): kind for kind in MessageKind}


class EncodedBody(NamedTuple):
    """A body that is not decoded yet, with what decoding may cost."""

    data: bytes
    little: bool
    max_depth: int
    max_values: int


class Message:
    """A message as received.

    Names are None (serials 0) where the header has none. `body` is decoded at the first access, so that a gate can
    look at `interface`, `member`, `signature` and `body_bytes` before it pays for that. The holder of a message must
    close it, which closes the descriptors in `fds` that nobody took; it is a context manager for that.
    """

    __slots__ = (
        "_body",
        "_encoded",
        "allow_interactive",
        "body_bytes",
        "destination",
        "error_name",
        "fds",
        "interface",
        "kind",
        "member",
        "no_reply_expected",
        "path",
        "reply_serial",
        "sender",
        "serial",
        "signature",
    )

    def __init__(
        self,
        kind: MessageKind,
        serial: int = 1,
        *,
        reply_serial: int = 0,
        sender: str | None = None,
        destination: str | None = None,
        path: str | None = None,
        interface: str | None = None,
        member: str | None = None,
        error_name: str | None = None,
        signature: str = "",
        body: Sequence[Any] = (),
        encoded: EncodedBody | None = None,
        no_reply_expected: bool = False,
        allow_interactive: bool = False,
        fds: FdSet | None = None,
    ) -> None:
        """Keep the parts; `body` is for messages made by hand, `encoded` for received ones. `fds` is taken over."""
        self.kind = kind
        self.serial = serial
        self.reply_serial = reply_serial
        self.sender = sender
        self.destination = destination
        self.path = path
        self.interface = interface
        self.member = member
        self.error_name = error_name
        self.signature = signature
        self.no_reply_expected = no_reply_expected
        self.allow_interactive = allow_interactive
        self.fds = fds if fds is not None else FdSet()
        self.body_bytes = len(encoded.data) if encoded else 0  # size on the wire
        self._encoded = encoded
        self._body: list[Any] | None = None if encoded else list(body)

    @property
    def body(self) -> list[Any]:
        """The values, one per complete type of `signature`; raises BadMessage if they don't decode within the caps."""
        if self._body is None:
            encoded = self._encoded
            assert encoded is not None  # noqa: S101 - one of the two is always set
            self._body = decode_body(
                encoded.data,
                self.signature,
                little=encoded.little,
                max_depth=encoded.max_depth,
                max_values=encoded.max_values,
            )
            self._encoded = None
        return self._body

    def take_fd(self, index: int) -> int:
        """Hand the descriptor that an `h` value names over to the caller; raises BadMessage if there is none."""
        return self.fds.take(index)

    def close(self) -> None:
        """Close the descriptors that nobody took; more than once does no harm."""
        self.fds.close()

    def __enter__(self) -> Self:
        """Return the message, to be closed at the end of the block."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the message."""
        self.close()

    def __repr__(self) -> str:
        """Name the routing parts only, never the body, since this ends up in logs."""
        return (
            f"<Message {self.kind.name} serial={self.serial} reply_serial={self.reply_serial} sender={self.sender!r} "
            f"path={self.path!r} {self.interface}.{self.member} error={self.error_name!r} "
            f"signature={self.signature!r} fds={len(self.fds)}>"
        )
