"""X11, by a server of the container's own or by the host's."""

from collections.abc import Mapping

from isod.ports import LiveSession
from isod.resources.base import Attachment, How, Resource
from isod_contract.errors import IsodError, Unsupported
from isod_contract.names import X11_SOCKET


class X11(Resource):
    """An X server."""

    key = "x11"
    levels = ("none", "isolated", "host")
    default = "isolated"
    doc = (
        "X11 clients. isolated: an X server for this container alone, which starts with the first client and shows "
        "its windows on the user's compositor; none where wayland is none. host: the user's own X server, on which "
        "every client can read the screen and the keyboard of all others."
    )
    variables = ("DISPLAY", "XAUTHORITY")

    @classmethod
    def attachment(cls, grants: Mapping[str, str], session: LiveSession) -> Attachment | IsodError | None:
        """Give a socket on which the session starts an X server; a client of that reaches no Wayland interface."""
        level = grants[cls.key]
        if level == "host":
            return Unsupported(what="the host's X server", reason='this isod can\'t give it; `x11 = "isolated"` works')
        # Its windows are the compositor's: a container without the one has no use for the other.
        if "none" in (level, grants["wayland"]) or not session.wayland:
            return None
        return Attachment(cls.key, X11_SOCKET, How.LISTEN, "an X server of the container's own", "")
