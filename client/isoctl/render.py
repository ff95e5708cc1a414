"""Printing what came from a container or another user: sanitised in tables, escaped in JSON."""

import unicodedata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def clean(text: str) -> str:
    """Escape what a terminal would act on or hide: control, format (bidi, zero-width) and unassigned characters."""
    return "".join(
        char
        if unicodedata.category(char)[0] != "C"
        else f"\\x{ord(char):02x}"
        if ord(char) < 256
        else f"\\u{ord(char):04x}"
        for char in text
    )


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
