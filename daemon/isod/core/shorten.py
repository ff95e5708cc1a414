"""Making lists that callers ask for fit into one message, whatever their entries hold."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from isod_contract.limits import LIST_BYTES_MAX, LIST_COMMAND_CHARS_MAX

_Entry = TypeVar("_Entry")
_WORD_BYTES = 8  # length, end and alignment of a string on the wire


def shortened(words: Sequence[str], chars_max: int = LIST_COMMAND_CHARS_MAX) -> list[str]:
    """Cut a command after so many characters; an ellipsis shows where."""
    kept: list[str] = []
    left = chars_max
    for word in words:
        if len(word) > left:
            kept.append(word[: max(left, 0)] + "…")
            break
        kept.append(word)
        # an empty argument takes room too
        left -= len(word) + 1
    return kept


def that_fit(entries: Iterable[tuple[int, _Entry]], bytes_max: int = LIST_BYTES_MAX) -> list[_Entry]:
    """Give the first entries, which come with about their size in bytes, that fit into so many bytes."""
    kept: list[_Entry] = []
    for size_bytes, entry in entries:
        bytes_max -= size_bytes
        if bytes_max < 0:
            break
        kept.append(entry)
    return kept


def size_of(words: Iterable[str], fixed_bytes: int) -> int:
    """Give about what words and `fixed_bytes` of other fields take on the wire."""
    return fixed_bytes + sum(len(word.encode()) + _WORD_BYTES for word in words)
