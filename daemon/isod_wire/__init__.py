"""The hardened D-Bus transport: dbus_next's types on a socket layer of our own."""

from isod_wire.caps import CONTAINER_CAPS, SESSION_CAPS, SYSTEM_BUS_CAPS, Caps, Rate
from isod_wire.connect import connect
from isod_wire.connection import Connection, Stats
from isod_wire.encode import EncodedBody
from isod_wire.errors import (
    AuthFailed,
    BadMessage,
    BadReply,
    CallTimeout,
    ConnectionLost,
    RemoteError,
    TooLarge,
    WireError,
)
from isod_wire.fds import FdSet
from isod_wire.match import Match, MatchRule
from isod_wire.message import Message, MessageKind
from isod_wire.shed import ShedGroup
from isod_wire.signature import Variant

__all__ = [
    "CONTAINER_CAPS",
    "SESSION_CAPS",
    "SYSTEM_BUS_CAPS",
    "AuthFailed",
    "BadMessage",
    "BadReply",
    "CallTimeout",
    "Caps",
    "Connection",
    "ConnectionLost",
    "EncodedBody",
    "FdSet",
    "Match",
    "MatchRule",
    "Message",
    "MessageKind",
    "Rate",
    "RemoteError",
    "ShedGroup",
    "Stats",
    "TooLarge",
    "Variant",
    "WireError",
    "connect",
]
