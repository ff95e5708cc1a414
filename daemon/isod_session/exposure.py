"""What a Wayland registry lets a client do beyond showing windows of its own and getting input for them."""

from collections.abc import Iterable
from typing import NamedTuple

from isod_contract.registry import FORBIDDEN, NOTABLE


class Exposure(NamedTuple):
    """How a compositor can serve contained apps (isod_contract.options.WAYLAND_MODES), and what they then reach."""

    mode: str
    interfaces: tuple[str, ...]


def judge(plain: Iterable[str], contained: Iterable[str] | None) -> Exposure:
    """Judge by result: what a client of a security context is offered (None: there is none), else everybody."""
    if contained is not None:
        offered = frozenset(contained)
        if not offered & FORBIDDEN:
            return Exposure("context", tuple(sorted(offered & NOTABLE)))
    offered = frozenset(plain)
    if offered & FORBIDDEN:
        return Exposure("unsafe", tuple(sorted(offered & FORBIDDEN)))
    return Exposure("plain", tuple(sorted(offered & NOTABLE)))
