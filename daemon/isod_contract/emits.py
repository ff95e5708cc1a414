"""Whether a property changes, and who tells (D-Bus specification, "Introspection Data Format")."""

from enum import StrEnum


class Emits(StrEnum):
    """What a client may make of a property that it has read (EmitsChangedSignal of the D-Bus specification)."""

    TRUE = "true"  # PropertiesChanged tells each change, with the value
    FALSE = "false"  # it may change, and nothing tells
    CONST = "const"  # it never does while the object is there, so clients may keep it
