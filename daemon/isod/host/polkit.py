"""polkit's authority (org.freedesktop.PolicyKit1.Authority): every error, time-out or vanished caller is no yes."""

import asyncio
import secrets
from collections.abc import Mapping

from isod.ports import Answer, Caller
from isod_contract.actions import Action
from isod_contract.limits import POLKIT_CHECK_TIMEOUT_SEC, POLKIT_TIMEOUT_SEC
from isod_wire import CallTimeout, Connection, Variant, WireError

_NAME = "org.freedesktop.PolicyKit1"
_PATH = "/org/freedesktop/PolicyKit1/Authority"
_INTERFACE = "org.freedesktop.PolicyKit1.Authority"
_ALLOW_INTERACTION = 1
_PROMPT_SEC = POLKIT_TIMEOUT_SEC - POLKIT_CHECK_TIMEOUT_SEC


class Polkit:
    """Adapter of `Authority` over the system bus."""

    def __init__(self, connection: Connection) -> None:
        """Take the system bus connection."""
        self._connection = connection

    async def check(self, caller: Caller, action: Action, details: Mapping[str, str]) -> Answer:
        """Ask about the sender's bus name, never about a pid (CVE-2013-4288); asks them only if the message allows."""
        cancellation = secrets.token_hex(16)
        subject = ["system-bus-name", {"name": Variant("s", caller.sender)}]
        flags = _ALLOW_INTERACTION if caller.interactive else 0
        try:
            with await self._connection.call(
                _NAME,
                _PATH,
                _INTERFACE,
                "CheckAuthorization",
                "(sa{sv})sa{ss}us",
                [subject, action.id, dict(details), flags, cancellation],
                timeout_sec=_PROMPT_SEC if caller.interactive else POLKIT_CHECK_TIMEOUT_SEC,
                expect="(bba{ss})",
            ) as reply:
                return _answer(*reply.body[0])
        except CallTimeout:
            self._cancel(cancellation)
            return Answer.UNANSWERED if caller.interactive else Answer.NO_POLKIT
        except (WireError, LookupError):
            self._cancel(cancellation)
            return Answer.NO_POLKIT
        except asyncio.CancelledError:
            self._cancel(cancellation)
            raise

    def _cancel(self, cancellation: str) -> None:
        """Take an open prompt off the caller's screen."""
        if not self._connection.closed:
            self._connection.call_no_reply(_NAME, _PATH, _INTERFACE, "CancelCheckAuthorization", "s", [cancellation])


def _answer(is_authorized: object, is_challenge: object, details: Mapping[str, str]) -> Answer:
    """Read an AuthorizationResult; only an explicit yes counts (CVE-2021-3560)."""
    if is_authorized is True:
        return Answer.YES
    if details.get("polkit.dismissed"):
        return Answer.DISMISSED
    return Answer.NEEDS_QUESTION if is_challenge is True else Answer.NO
