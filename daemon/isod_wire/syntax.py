"""Which names and paths the D-Bus specification allows ("Valid Names", "Valid Object Paths")."""

import re

MAX_NAME_CHARS = 255

# fullmatch, never match with `$`: `$` also accepts a trailing newline, and a broker disconnects whoever sends one.
_PATH = re.compile(r"/|(?:/[A-Za-z0-9_]+)+")
_INTERFACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BUS_NAME = re.compile(r":[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+|[A-Za-z_-][A-Za-z0-9_-]*(?:\.[A-Za-z_-][A-Za-z0-9_-]*)+")


def is_path(text: str) -> bool:
    """Tell whether `text` is an object path."""
    return _PATH.fullmatch(text) is not None


def is_interface(text: str) -> bool:
    """Tell whether `text` is an interface name; error names follow the same rule."""
    return len(text) <= MAX_NAME_CHARS and _INTERFACE.fullmatch(text) is not None


def is_member(text: str) -> bool:
    """Tell whether `text` is a method or signal name."""
    return len(text) <= MAX_NAME_CHARS and _MEMBER.fullmatch(text) is not None


def is_bus_name(text: str) -> bool:
    """Tell whether `text` is a unique or well-known bus name."""
    return len(text) <= MAX_NAME_CHARS and _BUS_NAME.fullmatch(text) is not None


def is_unique_name(text: str) -> bool:
    """Tell whether a valid bus name is one that the bus gave to a connection."""
    return text.startswith(":")
