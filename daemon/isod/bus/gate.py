"""The one way in: each call passes the same checks in the same order, and nothing is called that is not declared."""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from isod.authorise import denial
from isod.bus.caller import CallerGoneError, Callers, is_unique_name
from isod.bus.decisions import Decisions, Facts
from isod.bus.ratelimit import CallLimits
from isod.bus.refusal import RefusedError, access_denied
from isod.bus.request import Handler, Reply, Request
from isod.bus.requests import check_action, check_argv, check_grants, check_signal, parse_options, take_fds
from isod.bus.route import Kind, Route, route, shown_method
from isod.bus.services import Services
from isod.bus.shedding import Shedding
from isod.bus.standard import StandardInterfaces
from isod.bus.values import shown
from isod.ports import Answer, Authority, Caller
from isod.shortage import shortage_of
from isod_contract import actions, errors, limits, names
from isod_contract.methods import METHOD_INDEX, Access, Method
from isod_contract.options import NoOptions
from isod_kernel import untrusted_fds
from isod_wire import BadMessage, Connection, Message

_log = logging.getLogger(__name__)

# Calls of one connection that wait until it is known whose it is.
_UNKNOWN_PER_SENDER = 8
# An answer that was made before costs that much less (making one of 160 KiB: 55 ms).
_MADE_BEFORE = 16
_LISTS = ("a(", "aa")  # signatures of replies that may be long
# What may need a question to the user is decided by the core, which also records that. With USE it does so after the
# reply, so an error before it is still ours to record. A registered session is a record of its own.
_CORE_DECIDES = frozenset({Access.USE, Access.MANAGE, Access.GRANT, Access.SESSION})
_REFUSALS = (
    errors.NoSuchContainer,
    errors.NoSuchApplication,
    errors.NotPermitted,
    errors.NoAuthentication,
    errors.InvalidArgument,
    errors.Busy,
    errors.LimitExceeded,
    errors.UnsafeFd,
    errors.NotGranted,
)


@dataclass(slots=True)
class _UnderWay:
    """A call that was taken and is not answered yet."""

    call: Message
    sender: str
    facts: Facts
    counted_uid: int | None  # for whom it is counted (isod.subordinate_ids), whatever is said of that meanwhile


@lru_cache(maxsize=64)
def _limit_exceeded(reason: str) -> tuple[str, str]:
    error = errors.LimitExceeded(reason=reason)
    return error.name, error.text


class Gate:
    """Takes every call that reaches isod on the system bus, and answers each exactly once."""

    def __init__(
        self,
        *,
        connection: Connection,
        callers: Callers,
        services: Services,
        standard: StandardInterfaces,
        handlers: Mapping[tuple[str, str], Handler],
        authority: Authority,
        decisions: Decisions,
        call_limits: CallLimits,
        accountable: Callable[[int], int],
    ) -> None:
        """Take all that a call passes; raises ValueError unless exactly the declared methods have a handler."""
        if handlers.keys() != METHOD_INDEX.keys():
            odd = sorted(".".join(key) for key in handlers.keys() ^ METHOD_INDEX.keys())
            message = f"declared without a handler, or handled without a declaration: {', '.join(odd)}"
            raise ValueError(message)
        self._connection = connection
        self._callers = callers
        self._services = services
        self._standard = standard
        self._handlers = handlers
        self._authority = authority
        self._decisions = decisions
        self._limits = call_limits
        self._accountable = accountable
        self._shedding = Shedding(connection, decisions, call_limits.wait_sec)
        callers.on_gone(self._shedding.forget)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: Counter[str] = Counter()

    def open(self) -> None:
        """Begin to take calls; Callers.open must have returned."""
        self._connection.share(self._counted)
        self._connection.on_call(self._accept)

    async def close(self) -> None:
        """Cancel what is under way; callers get no answer."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._decisions.close()

    def _counted(self, sender: str | None) -> int | None:
        uid = self._callers.known_uid(sender)
        return None if uid is None else self._accountable(uid)

    def _facts(self, call: Message, sender: str) -> Facts:
        uid = self._callers.known_uid(sender)
        return Facts(shown_method(call), time.monotonic(), self._callers.known(sender), uid=uid)

    def _accept(self, call: Message) -> None:
        sender = call.sender
        if sender is None or not is_unique_name(sender):
            call.close()
            return
        uid = self._counted(sender)
        if uid is not None:
            reason = self._limits.enter(uid)
        elif self._open[sender] >= _UNKNOWN_PER_SENDER:
            reason = f"{_UNKNOWN_PER_SENDER} calls before your first was answered"
        else:
            reason = ""
        if reason:
            self._refuse(call, sender, uid, reason)
            return
        facts = self._facts(call, sender)
        under_way = _UnderWay(call, sender, facts, uid)
        self._open[sender] += 1
        task = asyncio.get_running_loop().create_task(self._serve(under_way))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._served(done, under_way))

    def _refuse(self, call: Message, sender: str, uid: int | None, reason: str) -> None:
        """Refuse what is over a limit at once and without a task: it must cost as little as can be."""
        name, text = _limit_exceeded(reason)
        facts = self._facts(call, sender)
        facts.rule = "limits"
        if uid is None or not self._decisions.refused_again(uid):
            self._decisions.refused(facts, name)
        self._connection.refuse(call, name, text)
        call.close()
        if uid is not None:
            self._shedding.begin(sender, uid, facts, name, text)

    def _served(self, task: asyncio.Task[None], under_way: _UnderWay) -> None:
        # Here and not in the task: one that is cancelled before its first step runs none of its code.
        under_way.call.close()
        self._tasks.discard(task)
        sender, uid = under_way.sender, under_way.counted_uid
        self._open[sender] -= 1
        if not self._open[sender]:
            del self._open[sender]
        if uid is not None and self._limits.leave(uid):
            self._shedding.end(uid)

    async def _serve(self, under_way: _UnderWay) -> None:
        call, facts = under_way.call, under_way.facts
        try:
            await self._handle(under_way)
        except CallerGoneError:
            self._decisions.refused(facts, "CallerGone")
        except RefusedError as refusal:
            self._decisions.refused(facts, refusal.name)
            self._connection.reply_error(call, refusal.name, refusal.text)
        except BadMessage:
            self._decisions.refused(facts, "org.freedesktop.DBus.Error.InvalidArgs")
            self._connection.reply_error(call, "org.freedesktop.DBus.Error.InvalidArgs", "The arguments are malformed")
        except errors.IsodError as error:
            self._record_error(facts, error)
            is_limit = isinstance(error, errors.LimitExceeded)
            answer = self._connection.refuse if is_limit else self._connection.reply_error
            answer(call, error.name, error.text)
        except Exception as error:  # noqa: BLE001 - a fault of ours may say all to the journal, to the caller nothing
            short = shortage_of(error)
            if short is not None:
                _log.warning("call.short", extra={"method": facts.method, "reason": str(error)})
                self._decisions.failed(facts, short.name)
                self._connection.reply_error(call, short.name, short.text)
                return
            incident = secrets.token_hex(8)
            _log.exception("call.failed", extra={"incident": incident, "method": facts.method})
            internal = errors.Internal(incident=incident)
            self._decisions.failed(facts, internal.name)
            self._connection.reply_error(call, internal.name, internal.text)

    def _record_error(self, facts: Facts, error: errors.IsodError) -> None:
        if facts.core_decides:
            return
        if isinstance(error, _REFUSALS):
            self._decisions.refused(facts, error.name)
        else:
            self._decisions.failed(facts, error.name)

    async def _handle(self, under_way: _UnderWay) -> None:
        call, facts = under_way.call, under_way.facts
        if under_way.counted_uid is None:
            facts.uid = await self._callers.uid_of(under_way.sender)
            facts.rule = "limits"
            counted_uid = self._accountable(facts.uid)
            if reason := self._limits.enter(counted_uid):
                raise errors.LimitExceeded(reason=reason)
            under_way.counted_uid = counted_uid
            facts.rule = "credentials"
        known = await self._callers.resolve(under_way.sender)
        caller = facts.caller = replace(known, interactive=call.allow_interactive)
        facts.rule = "call"
        way = route(call)
        if len(call.fds) > limits.MESSAGE_FDS_MAX:
            raise errors.InvalidArgument(
                argument="message", reason=f"has more than {limits.MESSAGE_FDS_MAX} file descriptors"
            )
        # What a launch waits for, one app's properties above all, is never refused for it.
        is_list = way.method is not None and not way.method.effect and way.method.out_signature.startswith(_LISTS)
        if is_list and (reason := self._limits.why_not_read(self._accountable(caller.uid))):
            facts.rule = "limits"
            raise errors.LimitExceeded(reason=reason)
        if way.method is None:
            facts.rule = "access"
            target = self._find(way.kind, way.untrusted_name, caller, facts)
            signature, reply = self._standard.answer(way, target, caller, call.body)
            self._answer(call, signature, reply)
        else:
            await self._handle_method(call, way, way.method, caller, facts)

    async def _handle_method(self, call: Message, way: Route, method: Method, caller: Caller, facts: Facts) -> None:
        facts.rule = "request"
        arguments, options = _check_request(call, method, facts)
        facts.rule = "access"
        target = await self._authorise(way, method, arguments, caller, facts)
        # CVE-2021-3560: whatever was awaited, nothing is done for somebody who is not there to be held to it.
        if not self._callers.still_there(caller.sender):
            raise CallerGoneError
        # From here to the handler's first step nothing is awaited, so the descriptors always have an owner.
        try:
            owned = take_fds(options, call.fds)
        except OSError:
            raise errors.LimitExceeded(reason="isod has no file descriptors left, try again later") from None
        facts.core_decides = method.access in (Access.MANAGE, Access.GRANT)
        request = Request(method, caller, target, arguments, replace(options, **owned))
        reply = await self._handlers[method.interface, method.name](request)
        facts.core_decides = method.access in _CORE_DECIDES
        if method.effect and not facts.core_decides:
            self._decisions.allowed(facts)
        self._answer(call, method.out_signature, reply)

    def _answer(self, call: Message, signature: str, reply: Reply) -> None:
        try:
            size_bytes = self._connection.reply(call, signature, reply.encoded or reply.body, reply.fds)
            uid = self._counted(call.sender)
            if uid is not None:
                self._limits.answered(uid, size_bytes // _MADE_BEFORE if reply.was_made_before else size_bytes)
        finally:
            for fd in reply.fds:
                untrusted_fds.close(fd)

    async def _authorise(
        self, way: Route, method: Method, arguments: tuple[Any, ...], caller: Caller, facts: Facts
    ) -> Any:
        """Give the object that the call is about; raises NoSuchContainer, NoSuchApplication, NotPermitted."""
        match method.access:
            case Access.SEE | Access.USE | Access.MANAGE | Access.GRANT | Access.DISPLAY:
                name = way.untrusted_name if way.kind is Kind.CONTAINER else arguments[0]
                target = self._find(Kind.CONTAINER, name, caller, facts)
                facts.rule = "uid 0" if caller.is_root else "visible"
                return target
            case Access.OWN:
                app_id = way.untrusted_name if way.kind is Kind.APP else arguments[0]
                target = self._find(Kind.APP, app_id, caller, facts)
                facts.rule = "uid 0" if caller.is_root else "owner"
                return target
            case Access.ADMIN:
                await self._ask_for_admin(caller)
                facts.rule = "uid 0" if caller.is_root else f"polkit {actions.MANAGE.id}"
                return None
            case Access.ANYONE | Access.SESSION:
                facts.rule = str(method.access)
                return None
        raise access_denied("Not declared who may call this")

    def _find(self, kind: Kind, untrusted_name: str, caller: Caller, facts: Facts) -> Any:
        if kind is Kind.CONTAINER:
            if not names.is_container_name(untrusted_name):
                raise errors.NoSuchContainer(container=shown(untrusted_name))
            facts.container = untrusted_name
            return self._services.containers.find(untrusted_name, caller)
        if kind is Kind.APP:
            if not names.is_app_id(untrusted_name):
                raise errors.NoSuchApplication(app=shown(untrusted_name))
            facts.app = untrusted_name
            app = self._services.apps.find(untrusted_name, caller)
            facts.container = app.container
            return app
        return None

    async def _ask_for_admin(self, caller: Caller) -> None:
        if caller.is_root:
            return
        answer = await self._authority.check(caller, actions.MANAGE, {"container": "(all)"})
        if answer is not Answer.YES:
            raise denial(answer, actions.MANAGE, interactive=caller.interactive)


def _check_request(call: Message, method: Method, facts: Facts) -> tuple[tuple[Any, ...], Any]:
    """Give arguments and options of a call whose signature fits; raises InvalidArgument, BadMessage."""
    values = tuple(call.body)
    options: Any = NoOptions()
    if method.options is not None:
        options = parse_options(method.options, values[-1], len(call.fds))
        values = values[:-1]
    facts.claim = getattr(options, "via", None) or {}
    environment = getattr(options, "environment", None)
    if environment:
        facts.environment = tuple(entry.partition("=")[0] for entry in environment)
    check = _CHECKED.get((method.interface, method.name))
    if check is not None:
        values = check(values)
    if (method.interface, method.name) == (names.MANAGER, "Run"):
        facts.argv = values[1]
    return values, options


# What is wrong whoever asks, so that it is refused, and recorded, here: later the core records what it decides.
_CHECKED: Mapping[tuple[str, str], Callable[[tuple[Any, ...]], tuple[Any, ...]]] = {
    (names.MANAGER, "Run"): lambda values: (values[0], check_argv(values[1])),
    (names.MANAGER, "Explain"): lambda values: (values[0], check_action(values[1])),
    (names.CONTAINER, "Grant"): lambda values: (check_grants(values[0]),),
    (names.APP, "Signal"): lambda values: (check_signal(values[0]),),
}
