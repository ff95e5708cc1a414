"""The user's Wayland compositor."""

from collections.abc import Mapping

from isod.ports import LiveSession
from isod.resources.base import Attachment, How, Resource
from isod_contract.errors import IsodError, NoSecurityContext, NoSession
from isod_contract.names import WAYLAND_SOCKET


class Wayland(Resource):
    """The compositor of the caller's live session."""

    key = "wayland"
    levels = ("none", "secured", "raw")
    default = "secured"
    doc = (
        "Windows on the user's Wayland compositor. secured: the app can neither read the screen or other windows nor "
        "inject input. That takes the compositor's security context, or a compositor that offers no such interface; "
        "without either there is no display. raw: the compositor's own socket, whatever it offers."
    )
    variables = ("WAYLAND_DISPLAY", "WAYLAND_SOCKET")

    @classmethod
    def attachment(cls, grants: Mapping[str, str], session: LiveSession) -> Attachment | IsodError | None:
        """Give a socket that the session hands to the compositor as a restricted one, or the compositor's own."""
        level = grants[cls.key]
        if level == "none":
            return None
        if not session.wayland:
            return NoSession(uid=session.caller.uid, reason="no Wayland compositor answers")
        seen = ", ".join(session.exposed)
        if level == "raw":
            # What a security context leaves is not what is there without one.
            raw = "all that it offers to programs of the host" if session.wayland == "context" else seen
            return Attachment(cls.key, WAYLAND_SOCKET, How.MOUNT, "the compositor's own socket", raw)
        match session.wayland:
            case "context":
                return Attachment(cls.key, WAYLAND_SOCKET, How.LISTEN, "a security context of the compositor", seen)
            case "plain":
                what = "the compositor's own socket, which gives neither the screen nor others' input"
                return Attachment(cls.key, WAYLAND_SOCKET, How.MOUNT, what, seen)
        return NoSecurityContext(
            reason=f'it offers {seen}; `wayland = "raw"` in the policy gives that to the container'
        )
