"""The methods of the bus itself that we use (specification, "Message Bus Messages")."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from isod_wire.calls import BUS_NAME
from isod_wire.errors import RemoteError, WireError
from isod_wire.message import Message
from isod_wire.syntax import is_unique_name

BUS_PATH = "/org/freedesktop/DBus"

_TIMEOUT_SEC = 25.0
_DO_NOT_QUEUE, _REPLACE_EXISTING = 4, 2
_PRIMARY_OWNER, _ALREADY_OWNER = 1, 4
_NAME_HAS_NO_OWNER = "org.freedesktop.DBus.Error.NameHasNoOwner"


class Call(Protocol):
    """Connection.call, as far as it is used here."""

    def __call__(
        self,
        destination: str | None,
        path: str,
        interface: str,
        member: str,
        signature: str = ...,
        body: list[Any] = ...,
        /,
        *,
        timeout_sec: float = ...,
        expect: str | None = ...,
    ) -> Coroutine[Any, Any, Message]:
        """Call a method."""


class BusDriver:
    """Talks to org.freedesktop.DBus over one connection."""

    def __init__(self, call: Call, call_no_reply: Callable[..., None]) -> None:
        """Use the connection's own `call` and `call_no_reply`."""
        self._call = call
        self._call_no_reply = call_no_reply

    async def hello(self) -> str:
        """Register with the bus and return our unique name; raises WireError if it gives none."""
        with await self._ask("Hello", "", [], "s") as reply:
            name = str(reply.body[0])
        if not is_unique_name(name):
            raise WireError("the bus gave no unique name")
        return name

    async def request_name(self, name: str, *, replace: bool) -> None:
        """Own `name`, taking it from its owner if `replace` and the owner allows; raises WireError if it is taken."""
        flags = _DO_NOT_QUEUE | (_REPLACE_EXISTING if replace else 0)
        with await self._ask("RequestName", "su", [name, flags], "u") as reply:
            if reply.body[0] not in {_PRIMARY_OWNER, _ALREADY_OWNER}:
                raise WireError(f"the bus name {name} is taken")

    async def name_owner(self, name: str) -> str | None:
        """Return the unique name that owns `name`, None if nobody does."""
        try:
            with await self._ask("GetNameOwner", "s", [name], "s") as reply:
                return str(reply.body[0])
        except RemoteError as error:
            if error.name == _NAME_HAS_NO_OWNER:
                return None
            raise

    async def add_match(self, rule_text: str) -> None:
        """Ask for the signals that a rule describes; returns once the bus has it."""
        (await self._ask("AddMatch", "s", [rule_text], "")).close()

    def remove_match(self, rule_text: str) -> None:
        """Take a rule back, without waiting."""
        self._call_no_reply(BUS_NAME, BUS_PATH, BUS_NAME, "RemoveMatch", "s", [rule_text])

    async def _ask(self, member: str, signature: str, body: list[Any], expect: str) -> Message:
        return await self._call(
            BUS_NAME, BUS_PATH, BUS_NAME, member, signature, body, timeout_sec=_TIMEOUT_SEC, expect=expect
        )
