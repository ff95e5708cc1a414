"""Turning the core's plain values into variants, and text of strangers into something fit for a reply."""

from collections.abc import Mapping
from typing import Any

from isod_wire import Variant

Variants = dict[str, Variant]

_SHOWN_CHARS = 64


def variant(value: object) -> Variant:
    """Wrap a value of the core: str `s`, bool `b`, int `t` (below zero `x`), float `d`, strings `as`.

    Raises TypeError for anything else, which is a fault of ours.
    """
    match value:
        case bool():
            return Variant("b", value)
        case int():
            return Variant("t" if value >= 0 else "x", int(value))
        case float():
            return Variant("d", value)
        case str():
            return Variant("s", str(value))
        case list() | tuple() | set() | frozenset():
            return Variant("as", [str(item) for item in value])
    message = f"{type(value).__name__} has no place in a reply"
    raise TypeError(message)


def variants(values: Mapping[str, object]) -> dict[str, Variant]:
    """Wrap each value of a map."""
    return {key: variant(value) for key, value in values.items()}


def typed(values: Mapping[str, Any], signatures: Mapping[str, str]) -> dict[str, Variant]:
    """Wrap those values that have a declared signature; others are left out."""
    return {key: Variant(signatures[key], value) for key, value in values.items() if key in signatures}


def shown(untrusted_text: str) -> str:
    """Cut a stranger's text to what an error may quote; the errors' templates escape it."""
    return untrusted_text if len(untrusted_text) <= _SHOWN_CHARS else untrusted_text[:_SHOWN_CHARS] + "..."
