"""X11, by a server of the container's own or by the host's."""

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
        "its windows on the user's compositor. host: the user's own X server, on which every client can read the "
        "screen and the keyboard of all others."
    )
    variables = ("DISPLAY", "XAUTHORITY")

    @classmethod
    def attachment(cls, level: str, session: LiveSession) -> Attachment | IsodError | None:
        """Give a socket on which the session starts an X server; a client of that reaches no Wayland interface."""
        if level == "host":
            return Unsupported(what="the host's X server", reason='this isod can\'t give it; `x11 = "isolated"` works')
        if level == "none" or not session.wayland:
            return None
        return Attachment(cls.key, X11_SOCKET, How.LISTEN, "an X server of the container's own", "")
