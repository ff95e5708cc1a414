"""Printing what came from a container or another user: sanitised in tables, escaped in JSON."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def clean(text: str) -> str:
    """Write what a terminal would act on or hide by its number: x1b or u202e after a backslash.

    str.isprintable() is false for control, format (bidi, zero-width), surrogate, private and unassigned characters,
    and for all separators but the space.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(ord(char)) for char in text)


def _escaped(code: int) -> str:
    """Write a character by its number."""
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def table(titles: "Sequence[str]", rows: "Sequence[Sequence[str]]") -> None:
    """Print columns, as wide as they need to be; the last one is not padded."""
    cleaned = [list(titles), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cleaned) for column in range(len(titles))]
    for row in cleaned:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def as_json(value: "Any") -> None:
    """Print a value as JSON, ASCII only."""
    import json

    print(json.dumps(value, indent=2))
