"""X11, by a server of the container's own or by the host's."""

import struct
from collections.abc import Mapping

from isod.ports import LiveSession
from isod.resources.base import Attachment, How, Resource
from isod_contract.errors import IsodError, NoSession
from isod_contract.names import X11_SOCKET


class X11(Resource):
    """An X server."""

    key = "x11"
    levels = ("none", "isolated", "host")
    default = "isolated"
    doc = (
        "X11 clients. isolated: an X server for this container alone. It starts with the first client and shows its "
        "windows on the user's compositor. There is none where wayland is none, or where the host has no Xwayland. "
        "host: the user's own X server, on which every client can read the screen and the keyboard of all others. "
        "One without a cookie (Xwayland of wlroots) lets in apps of the user's own uid alone, so none from a "
        "container with a user namespace. One with a cookie can be used, until the user's next login, by whoever "
        "read the cookie and reaches that server."
    )
    variables = ("DISPLAY", "XAUTHORITY")

    @classmethod
    def attachment(cls, grants: Mapping[str, str], session: LiveSession) -> Attachment | IsodError | None:
        """Give the socket of the user's X server, or one on which the session starts one for the container alone.

        A client of the latter reaches no Wayland interface.
        """
        level = grants[cls.key]
        if level == "host":
            if X11_SOCKET not in session.sockets:
                return NoSession(uid=session.caller.uid, reason="no X server of the user's was found")
            seen = "all keys and windows of every X program, by any X program"
            return Attachment(cls.key, X11_SOCKET, How.MOUNT, "the user's own X server", seen, session.x11_cookie)
        # Its windows are the compositor's: a container without the one has no use for the other.
        # Nor has a socket that nobody serves: its clients would wait, or come again and again.
        if "none" in (level, grants["wayland"]) or not session.wayland or not session.has_x_server:
            return None
        return Attachment(cls.key, X11_SOCKET, How.LISTEN, "an X server of the container's own", "")


def authority(cookie: bytes) -> bytes:
    """Give an X authority file that has this cookie for every display (Xauth(3): family wild, no number).

    Inside, the display is a path, which no entry of the host's own file would match. Without a cookie it is empty.
    """
    name = b"MIT-MAGIC-COOKIE-1"
    fields = (b"", b"", name, cookie)
    return (
        struct.pack(">H", 0xFFFF) + b"".join(struct.pack(">H", len(item)) + item for item in fields) if cookie else b""
    )
