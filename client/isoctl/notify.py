"""Desktop notifications, for a caller who looks at no terminal: a key binding, a launcher.

Source: Desktop Notifications Specification 1.2, org.freedesktop.Notifications.
"""

import os

from isoctl.wire import Bus, RemoteError, WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SERVICE = "org.freedesktop.Notifications"
_PATH = "/org/freedesktop/Notifications"
_TIMEOUT_SEC = 2.0
_CLOSED_BY_NOTIFIER = -1  # expires as the desktop has it


class Notifier:
    """Shows one notification, replaced when there is something newer to say, removed when it no longer holds."""

    __slots__ = ("_bus", "_id")

    def __init__(self) -> None:
        """Begin with nothing shown."""
        self._bus: Bus | None = None
        self._id = 0

    def show(self, summary: str, text: str) -> None:
        """Show or replace it; where that can't be done nothing happens, the text stands on stderr anyway."""
        body = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        values: tuple[Any, ...] = ("isoctl", self._id, "dialog-warning", summary, body, [], {}, _CLOSED_BY_NOTIFIER)
        reply = self._call("Notify", "susssasa{sv}i", values)
        if reply and isinstance(reply[0], int):
            self._id = reply[0]

    def close(self) -> None:
        """Remove what is shown."""
        if self._id:
            self._call("CloseNotification", "u", (self._id,))
            self._id = 0

    def _call(self, member: str, signature: str, values: "tuple[Any, ...]") -> "list[Any] | None":
        address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
        if not address:
            return None
        try:
            if self._bus is None:
                self._bus = Bus(address, _TIMEOUT_SEC)
            reply = self._bus.call(
                _PATH, _SERVICE, member, signature, values, destination=_SERVICE, timeout_sec=_TIMEOUT_SEC
            )
        except (WireError, RemoteError, OSError):
            return None
        return list(reply.body)
