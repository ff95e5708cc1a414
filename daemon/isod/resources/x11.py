"""X11, by a server of the container's own or by the host's."""

from isod.resources.base import Resource


class X11(Resource):
    """An X server."""

    key = "x11"
    levels = ("none", "isolated", "host")
    default = "isolated"
    doc = (
        "X11 clients. isolated: an X server for this container alone, which starts with the first client and shows "
        "its windows through the granted Wayland. host: the user's own X server, on which every client can read the "
        "screen and the keyboard of all others."
    )
    variables = ("DISPLAY", "XAUTHORITY")
