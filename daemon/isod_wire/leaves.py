"""Readers of the basic types (specification, "Marshaling Basic Types"), and the state that all readers share."""

import struct
from collections.abc import Callable
from typing import Any

from isod_wire.errors import BadMessage
from isod_wire.syntax import is_path

# (decoder, position, end, depth) -> (value, next position)
Reader = Callable[["Decoder", int, int, int], tuple[Any, int]]

FIXED_FORMATS = {"n": "h", "q": "H", "i": "i", "u": "I", "h": "I", "x": "q", "t": "Q", "d": "d"}
PAST_THE_END = "a value reaches past its end"


class Decoder:
    """The bytes of one body and what may still be spent on them."""

    __slots__ = ("budget", "data", "max_depth")

    def __init__(self, data: bytes, max_depth: int, max_values: int) -> None:
        """Start with nothing spent."""
        self.data = data
        self.max_depth = max_depth
        self.budget = max_values


def read_byte(decoder: Decoder, position: int, end: int, _depth: int) -> tuple[int, int]:
    """Read `y`."""
    if position >= end:
        raise BadMessage(PAST_THE_END)
    return decoder.data[position], position + 1


def fixed_reader(code: str) -> Reader:
    """Return a reader for a number in the struct format `code`, byte order included."""
    size = struct.calcsize(code)
    unpack = struct.Struct(code).unpack_from

    def read(decoder: Decoder, position: int, end: int, _depth: int) -> tuple[Any, int]:
        position = (position + size - 1) & -size
        after = position + size
        if after > end:
            raise BadMessage(PAST_THE_END)
        return unpack(decoder.data, position)[0], after

    return read


def boolean_reader(order: str) -> Reader:
    """Return a reader for `b`; only 0 and 1 are booleans."""
    read_number = fixed_reader(order + "I")

    def read(decoder: Decoder, position: int, end: int, depth: int) -> tuple[bool, int]:
        number, after = read_number(decoder, position, end, depth)
        if number > 1:
            raise BadMessage("boolean is neither 0 nor 1")
        return number == 1, after

    return read


def string_reader(order: str) -> Reader:
    """Return a reader for `s`; UTF-8 without NUL."""
    unpack = struct.Struct(order + "I").unpack_from

    def read(decoder: Decoder, position: int, end: int, _depth: int) -> tuple[str, int]:
        position = ((position + 3) & -4) + 4
        data = decoder.data
        if position > end:
            raise BadMessage(PAST_THE_END)
        last = position + unpack(data, position - 4)[0]
        if last >= end:
            raise BadMessage(PAST_THE_END)
        text = _decode_text(data[position:last])
        if data[last] or "\0" in text:
            raise BadMessage("string with a NUL byte, or without one at its end")
        return text, last + 1

    return read


def path_reader(order: str) -> Reader:
    """Return a reader for `o`."""
    read_string = string_reader(order)

    def read(decoder: Decoder, position: int, end: int, depth: int) -> tuple[str, int]:
        text, after = read_string(decoder, position, end, depth)
        if not is_path(text):
            raise BadMessage("invalid object path")
        return text, after

    return read


def _decode_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadMessage("string is not UTF-8") from None


def read_signature_text(decoder: Decoder, position: int, end: int) -> tuple[str, int]:
    """Read a signature without checking it."""
    data = decoder.data
    if position >= end:
        raise BadMessage(PAST_THE_END)
    last = position + 1 + data[position]
    if last >= end or data[last]:
        raise BadMessage(PAST_THE_END)
    # latin-1 never fails; a byte that is no type is refused by the parser.
    return data[position + 1 : last].decode("latin-1"), last + 1
