"""isod's interface on the session bus: calls go to isod, answers and signals come back, only `via` is added."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from isod_contract import names
from isod_contract.errors import Internal, Unsupported
from isod_contract.limits import POLKIT_TIMEOUT_SEC
from isod_contract.methods import METHOD_INDEX, Access
from isod_session.callers import Callers, is_own_user
from isod_wire import BadMessage, CallTimeout, Connection, ConnectionLost, Message, RemoteError, Variant, WireError

_log = logging.getLogger(__name__)

_CALLS_MAX = 256
# isod answers in milliseconds, except where polkit's answer is the answer.
_TIMEOUT_SEC = POLKIT_TIMEOUT_SEC + 5
# The call that had us started comes before we are on the system bus.
_SYSTEM_BUS_WAIT_SEC = 3.0
_DBUS_ERROR = "org.freedesktop.DBus.Error."
_SERVICE_UNKNOWN = _DBUS_ERROR + "ServiceUnknown"
_NO_DAEMON = frozenset(_DBUS_ERROR + name for name in ("ServiceUnknown", "NameHasNoOwner", "Spawn.ServiceNotFound"))
_NO_DAEMON_TEXT = "isod does not run on this host; an administrator can start it: systemctl start isod"
_SIGNAL_INTERFACES = frozenset({names.MANAGER, names.CONTAINER, names.APP, names.PROPERTIES})


@dataclass(slots=True)
class _Turn:
    """Whose turn it is among one sender's calls; `users` hold or want the lock."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Forwarder:
    """Passes messages between the session bus and isod; keeps no state of its own about containers or apps."""

    def __init__(
        self,
        session_bus: Connection,
        *,
        choose_display: Callable[[str], Awaitable[str]],
        before_run: Callable[[], Awaitable[None]],
    ) -> None:
        """Serve calls on `session_bus`; `before_run` is awaited before each Run.

        `choose_display` takes a WAYLAND_DISPLAY, and gives a sentence if it is not the one used.
        """
        self._session_bus = session_bus
        self._before_run = before_run
        self._choose_display = choose_display
        self._callers = Callers(session_bus)
        self._system_bus: Connection | None = None
        self._connected = asyncio.Event()
        self._turns: dict[str, _Turn] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        session_bus.on_call(self._on_call)

    def use(self, system_bus: Connection | None) -> None:
        """Forward to isod on this connection from now on; None: there is none at the moment."""
        self._system_bus = system_bus
        if system_bus is None:
            self._connected.clear()
        else:
            self._connected.set()

    def pass_signal_on(self, signal: Message) -> None:
        """Tell everybody on the session bus what isod told us; all listeners there are the user."""
        if signal.interface not in _SIGNAL_INTERFACES:
            return
        try:
            self._session_bus.emit(
                signal.path or "", signal.interface, signal.member or "", signal.signature, signal.body
            )
        except (BadMessage, ValueError) as error:
            _log.warning("a signal of isod was dropped: %s", error)

    async def close(self) -> None:
        """End what is under way; its callers get an error from the bus as we leave."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_call(self, call: Message) -> None:
        if len(self._tasks) >= _CALLS_MAX:
            with call:
                self._session_bus.reply_error(call, _DBUS_ERROR + "LimitsExceeded", "Too many calls are under way")
            return
        task = asyncio.create_task(self._serve(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, call: Message) -> None:
        with call:
            try:
                await self._answer(call)
            except RemoteError as error:
                text = _NO_DAEMON_TEXT if error.name in _NO_DAEMON else error.text
                self._reply_error(call, error.name, text)
            except CallTimeout:
                self._reply_error(call, _DBUS_ERROR + "NoReply", "isod did not answer in time")
            except ConnectionLost:
                self._reply_error(call, _SERVICE_UNKNOWN, "The connection to the system bus was lost; try again")
            except BadMessage as error:
                self._reply_error(call, _DBUS_ERROR + "InvalidArgs", f"Invalid message: {error}")
            except WireError as error:
                self._reply_error(call, _DBUS_ERROR + "LimitsExceeded", f"Not forwarded: {error}")
            except (ValueError, OSError) as error:
                # Of encoding again what was decoded: our fault, and the caller shall not wait for a time-out.
                incident = f"session-{call.serial}"
                _log.warning("call not forwarded incident=%s %r: %s", incident, call, error)
                internal = Internal(incident=incident)
                self._reply_error(call, internal.name, internal.text)

    async def _answer(self, call: Message) -> None:
        # Calls of one sender leave in the order in which they came, though each may wait for something on its way.
        # What isod makes of them is not awaited in turn.
        sender = call.sender or ""
        turn = self._turns.setdefault(sender, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                pending = await self._send(call)
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[sender]
        if pending is None:
            return
        with await pending as reply:
            self._session_bus.reply(call, reply.signature, reply.body, reply.fds.raw())

    async def _send(self, call: Message) -> asyncio.Task[Message] | None:
        """Check a call and send it on; gives what waits for isod's reply, None if the call is answered already."""
        caller = await self._callers.find(call.sender or "")
        if not is_own_user(caller):
            self._reply_error(call, _DBUS_ERROR + "AccessDenied", "This service works for its own user only")
            return None
        if call.path == names.SESSION_PATH:
            await self._answer_ourselves(call)
            return None
        method = METHOD_INDEX.get((call.interface or "", call.member or ""))
        if method and method.access in (Access.SESSION, Access.DISPLAY):
            error = Unsupported(what=method.name, reason="it is for the system bus only")
            self._reply_error(call, error.name, error.text)
            return None
        if method and method.name in ("Subscribe", "Unsubscribe"):
            # Here everybody gets every signal; forwarded, one caller's Unsubscribe would end that for all.
            self._session_bus.reply(call)
            return None
        body = call.body
        if method and call.signature == method.in_signature and _takes_claim(method.options):
            # In the place of what the caller may have written there.
            body = [*body[:-1], {**body[-1], "via": caller.claim()}]
        if method and method.name == "Run":
            if call.signature == method.in_signature and (hinted := _hinted_display(body[-1])):
                await self._choose_display(hinted)
            await self._before_run()
        system_bus = await self._wait_for_system_bus()
        if system_bus is None:
            self._reply_error(call, _SERVICE_UNKNOWN, "The system bus can't be reached; try again")
            return None
        return asyncio.create_task(
            system_bus.call(
                names.BUS_NAME,
                call.path or "",
                call.interface or "",
                call.member or "",
                call.signature,
                body,
                fds=call.fds.raw(),
                timeout_sec=_TIMEOUT_SEC,
                allow_interactive=call.allow_interactive,
            )
        )

    async def _answer_ourselves(self, call: Message) -> None:
        if (call.interface, call.member, call.signature) != (names.SESSION, "ChooseDisplay", "s"):
            self._reply_error(call, _DBUS_ERROR + "UnknownMethod", f"{names.SESSION_PATH} has ChooseDisplay(s) alone")
            return
        self._session_bus.reply(call, "s", [await self._choose_display(call.body[0])])

    async def _wait_for_system_bus(self) -> Connection | None:
        if self._system_bus is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SYSTEM_BUS_WAIT_SEC):
                    await self._connected.wait()
        return self._system_bus

    def _reply_error(self, call: Message, name: str, text: str) -> None:
        if not self._session_bus.closed:
            self._session_bus.reply_error(call, name, text)


def _hinted_display(options: Mapping[str, Any]) -> str:
    """Give the WAYLAND_DISPLAY among the hints of a Run."""
    hints = options.get("hints")
    entries = hints.value if isinstance(hints, Variant) and hints.signature == "as" else ()
    return next((entry.partition("=")[2] for entry in entries if entry.startswith("WAYLAND_DISPLAY=")), "")


def _takes_claim(options: type[Any] | None) -> bool:
    return options is not None and any(item.name == "via" for item in fields(options))
