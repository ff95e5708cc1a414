"""A call after the gate has checked it, and what a handler answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from isod.ports import Caller
from isod_contract.methods import Method
from isod_wire import EncodedBody


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a declared method by a known caller who may make it.

    `arguments` are those before the options; `options` is an instance of the method's option class, in which
    descriptors are numbers that the handler owns. `target` is the container or app that the call is about.
    """

    method: Method
    caller: Caller
    target: Any
    arguments: tuple[Any, ...]
    options: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """The values of the reply, or these encoded; its descriptors are closed once they are sent."""

    body: list[Any] = field(default_factory=list)
    fds: tuple[int, ...] = ()
    encoded: EncodedBody | None = None
    was_made_before: bool = False  # so it cost little this time


Handler = Callable[[Request], Awaitable[Reply]]
