"""The user's Wayland compositor."""

from isod.resources.base import Resource


class Wayland(Resource):
    """The compositor of the caller's live session."""

    key = "wayland"
    levels = ("none", "secured", "raw")
    default = "secured"
    doc = (
        "Windows on the user's Wayland compositor. secured: the app can neither read the screen or other windows nor "
        "inject input, by the compositor's security context or because the compositor offers no such interface; "
        "where that can't be had there is no display. raw: the compositor's own socket, whatever it offers."
    )
    variables = ("WAYLAND_DISPLAY", "WAYLAND_SOCKET")
