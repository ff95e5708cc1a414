"""The exceptions that cross the border of this package."""


class WireError(Exception):
    """Base of everything that the transport raises on purpose."""


class ConnectionLost(WireError):
    """The connection can't be made, or is gone; every open call ends with this."""


class AuthFailed(WireError):
    """The peer refused, garbled or outlasted the SASL handshake."""


class CallTimeout(WireError):
    """No acceptable reply came within the time that the caller gave."""


class TooLarge(WireError):
    """A message is over the size cap, or the write queue to its destination is full."""


class BadMessage(WireError):
    """What a peer sent can't be decoded within the caps."""


class RemoteError(WireError):
    """The peer answered with an error message.

    `name` is the D-Bus error name, `text` the peer's own words (untrusted, cut to 1,024 characters).
    """

    def __init__(self, name: str, text: str) -> None:
        """Keep both apart."""
        super().__init__(f"{name}: {text}" if text else name)
        self.name = name
        self.text = text


class BadReply(RemoteError):
    """The peer answered with another signature than the caller expects."""

    def __init__(self, text: str) -> None:
        """Give it the error name that D-Bus has for this."""
        super().__init__("org.freedesktop.DBus.Error.InvalidSignature", text)
