"""What a Wayland registry lets a client do beyond showing windows of its own and getting input for them."""

from collections.abc import Mapping
from typing import NamedTuple

from isod_contract.limits import EXPOSED_ENTRIES_MAX
from isod_contract.registry import beyond_windows, forbidden


class Exposure(NamedTuple):
    """How a compositor can serve contained apps (isod_contract.options.WAYLAND_MODES), and what they then reach."""

    mode: str
    interfaces: tuple[str, ...]


def judge(plain: Mapping[str, int], contained: Mapping[str, int] | None) -> Exposure:
    """Judge by result: what a client of a security context is offered (None: there is none), else everybody.

    Both are versions by interface.
    """
    if contained is not None and not forbidden(contained):
        return _exposure("context", beyond_windows(contained))
    if found := forbidden(plain):
        return _exposure("unsafe", found)
    return _exposure("plain", beyond_windows(plain))


def _exposure(mode: str, interfaces: list[str]) -> Exposure:
    if len(interfaces) <= EXPOSED_ENTRIES_MAX:
        return Exposure(mode, tuple(interfaces))
    # More than isod takes: that there are more must not go untold.
    return Exposure(mode, (*interfaces[: EXPOSED_ENTRIES_MAX - 1], "and_more"))
