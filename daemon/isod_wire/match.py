"""Which signals somebody wants: match rules, and the table that gives each signal to its handlers."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import chain

from isod_wire.errors import BadMessage
from isod_wire.message import Message
from isod_wire.signature import parse_signature
from isod_wire.syntax import is_bus_name, is_interface, is_member, is_path

_log = logging.getLogger(__name__)
_TELL_AGAIN_SEC = 10.0

OwnerOf = Callable[[str], str | None]
Handler = Callable[[Message], None]
Predicate = Callable[[Message], bool]

_CHECKS = {
    "sender": is_bus_name,
    "path": is_path,
    "path_namespace": is_path,
    "interface": is_interface,
    "member": is_member,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRule:
    """A signal match (specification, "Match Rules"); None means any.

    Name the `sender` wherever a signal means anything: any client may send any signal straight to us, past every
    rule, and only the sender can't be forged. Raises ValueError for a name that is not valid.
    """

    sender: str | None = None
    path: str | None = None
    path_namespace: str | None = None
    interface: str | None = None
    member: str | None = None
    arg0: str | None = None
    arg2: str | None = None

    def __post_init__(self) -> None:
        """Check what the bus would refuse."""
        for name, is_valid in _CHECKS.items():
            value = getattr(self, name)
            if value is not None and not is_valid(value):
                raise ValueError(f"{name} is not valid: {value!r}")
        if self.path is not None and self.path_namespace is not None:
            raise ValueError("path and path_namespace exclude each other")

    def text(self) -> str:
        """Return the rule as AddMatch takes it."""
        given = ((field.name, getattr(self, field.name)) for field in fields(self))
        parts = (f"{name}='{_quote(value)}'" for name, value in given if value is not None)
        return ",".join(chain(("type='signal'",), parts))

    def matches(self, message: Message, owner_of: OwnerOf | None) -> bool:
        """Tell whether a signal is meant, looking into the body last.

        `owner_of` maps a well-known name to the unique name that owns it now; None (on a connection without a bus,
        where messages name no sender) leaves the sender unchecked.
        """
        return (
            (self.member is None or self.member == message.member)
            and (self.interface is None or self.interface == message.interface)
            and (self.path is None or self.path == message.path)
            and (self.path_namespace is None or _is_below(message.path or "", self.path_namespace))
            and (self.sender is None or owner_of is None or self._is_from_sender(message, owner_of))
            and (self.arg0 is None or _string_argument(message, 0) == self.arg0)
            and (self.arg2 is None or _string_argument(message, 2) == self.arg2)
        )

    def _is_from_sender(self, message: Message, owner_of: OwnerOf) -> bool:
        if message.sender is None or self.sender is None:
            return False
        return message.sender == self.sender or message.sender == owner_of(self.sender)


def _quote(text: str) -> str:
    return text.replace("'", "'\\''")


def _is_below(path: str, namespace: str) -> bool:
    return namespace in {"/", path} or path.startswith(namespace + "/")


def _string_argument(message: Message, index: int) -> str | None:
    try:
        types = parse_signature(message.signature).types
        value = message.body[index] if len(types) > index and types[index].signature == "s" else None
    except BadMessage:
        return None
    return value if isinstance(value, str) else None


class Match:
    """A registered handler; remove() ends it."""

    __slots__ = ("_on_remove", "handler", "path", "predicate", "rule_text")

    def __init__(
        self,
        rule_text: str,
        path: str | None,
        handler: Handler,
        predicate: Predicate,
        on_remove: Callable[["Match"], None],
    ) -> None:
        """Keep the parts; `path` is set if the rule can only match on one object."""
        self.rule_text = rule_text
        self.path = path
        self.handler = handler
        self.predicate = predicate
        self._on_remove: Callable[[Match], None] | None = on_remove

    def remove(self) -> None:
        """Stop calling the handler at once and tell the bus, without waiting; more than once does no harm."""
        on_remove, self._on_remove = self._on_remove, None
        if on_remove:
            on_remove(self)


class MatchTable:
    """The matches of one connection, by object path so that hundreds of apps cost no more than one."""

    def __init__(self) -> None:
        """Start empty."""
        self._by_path: dict[str, list[Match]] = {}
        self._anywhere: list[Match] = []
        self._told_sec = -math.inf

    def add(self, match: Match) -> None:
        """Let `match` see signals from now on."""
        if match.path is None:
            self._anywhere.append(match)
        else:
            self._by_path.setdefault(match.path, []).append(match)

    def discard(self, match: Match) -> None:
        """Let `match` see no more signals."""
        matches = self._anywhere if match.path is None else self._by_path.get(match.path, [])
        if match in matches:
            matches.remove(match)
        if match.path is not None and not matches:
            self._by_path.pop(match.path, None)

    def dispatch(self, message: Message) -> bool:
        """Call the handlers that want a signal; False if there is none.

        A handler that raises is logged and hurts no other.
        """
        wanted = [match for match in self._candidates(message) if match.predicate(message)]
        for match in wanted:
            try:
                match.handler(message)
            except BadMessage as error:
                if self._may_tell():
                    _log.warning("wire.signal_undecodable %r: %s", message, error)
            except Exception:  # noqa: BLE001 - one handler must not cost the others their signal
                if self._may_tell():
                    _log.exception("wire.signal_handler_failed %r", message)
        return bool(wanted)

    def _may_tell(self) -> bool:
        # Whoever may send us signals must not be able to fill the log.
        now_sec = time.monotonic()
        if now_sec < self._told_sec + _TELL_AGAIN_SEC:
            return False
        self._told_sec = now_sec
        return True

    def _candidates(self, message: Message) -> Iterator[Match]:
        # A copy, since handlers add and remove matches.
        candidates: Iterable[Match] = chain(self._by_path.get(message.path or "", ()), self._anywhere)
        yield from tuple(candidates)
