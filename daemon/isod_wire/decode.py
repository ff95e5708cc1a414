"""Decode message bodies from bytes that a stranger wrote, with caps on depth and on the number of values.

dbus_next's unmarshaller reads on from the socket when a length inside the message lies, has no depth cap, and is
about ten times slower; so this is our own, compiled once a signature into nested closures. Each reader takes
(decoder, position, end, depth) and returns (value, next position); positions are relative to the body, which the
specification ("Message Format") puts at a multiple of 8.
"""

import struct
from collections.abc import Callable
from typing import Any

from isod_wire.errors import BadMessage
from isod_wire.signature import ParsedSignature, SignatureType, Variant, is_cached, parse_signature
from isod_wire.syntax import is_path

Reader = Callable[["Decoder", int, int, int], tuple[Any, int]]

# A signature not in the cache costs about as much to parse as this many values to read.
_NEW_SIGNATURE_COST = 64

ALIGNMENT = {**dict.fromkeys("ygv", 1), **dict.fromkeys("nq", 2), **dict.fromkeys("biuhsoa", 4)}
ALIGNMENT.update(dict.fromkeys("xtd({", 8))

_FIXED_FORMATS = {"n": "h", "q": "H", "i": "i", "u": "I", "h": "I", "x": "q", "t": "Q", "d": "d"}

_PAST_THE_END = "a value reaches past its end"


class Decoder:
    """The bytes of one body and what may still be spent on them."""

    __slots__ = ("budget", "data", "max_depth")

    def __init__(self, data: bytes, max_depth: int, max_values: int) -> None:
        """Start with nothing spent."""
        self.data = data
        self.max_depth = max_depth
        self.budget = max_values


def decode_body(data: bytes, signature: str, *, little: bool, max_depth: int, max_values: int) -> list[Any]:
    """Decode a whole body.

    Takes the body's bytes, its signature and byte order; returns one plain Python value per complete type (structs
    and arrays as lists, `ay` as bytes, `h` as an index). Raises BadMessage for anything that is not exactly that.
    """
    decoder = Decoder(data, max_depth, max_values)
    parsed = parse_signature(signature)
    if parsed.depth > max_depth:
        raise BadMessage("body nested too deeply")
    values, position = [], 0
    for read in readers_of(parsed, little=little):
        value, position = read(decoder, position, len(data), 0)
        values.append(value)
    if position != len(data):
        raise BadMessage("body longer than its signature says")
    return values


def readers_of(parsed: ParsedSignature, *, little: bool) -> tuple[Reader, ...]:
    """Return the compiled readers of a signature, one per complete type."""
    compiled: tuple[Reader, ...] | None = parsed.little_readers if little else parsed.big_readers
    if compiled is None:
        compiled = tuple(_compile(node, little=little) for node in parsed.types)
        if little:
            parsed.little_readers = compiled
        else:
            parsed.big_readers = compiled
    return compiled


def _compile(node: SignatureType, *, little: bool) -> Reader:
    match node.token:
        case "(":
            return _struct_reader(tuple(_compile(child, little=little) for child in node.children))
        case "a":
            return _compile_array(node.children[0], little=little)
        case basic:
            return (_LITTLE if little else _BIG)[basic]


def _compile_array(element: SignatureType, *, little: bool) -> Reader:
    order = "<" if little else ">"
    match element.token:
        case "y":
            return _bytes_reader(order)
        case "{":
            key, value = (_compile(part, little=little) for part in element.children)
            return _dict_reader(order, key, value)
        case number if number in _FIXED_FORMATS:
            return _fixed_array_reader(order, _FIXED_FORMATS[number])
        case other:
            return _array_reader(order, _compile(element, little=little), ALIGNMENT[other])


def _read_byte(decoder: Decoder, position: int, end: int, _depth: int) -> tuple[int, int]:
    if position >= end:
        raise BadMessage(_PAST_THE_END)
    return decoder.data[position], position + 1


def _fixed_reader(code: str) -> Reader:
    size = struct.calcsize(code)
    unpack = struct.Struct(code).unpack_from

    def read(decoder: Decoder, position: int, end: int, _depth: int) -> tuple[Any, int]:
        position = (position + size - 1) & -size
        after = position + size
        if after > end:
            raise BadMessage(_PAST_THE_END)
        return unpack(decoder.data, position)[0], after

    return read


def _boolean_reader(order: str) -> Reader:
    read_number = _fixed_reader(order + "I")

    def read(decoder: Decoder, position: int, end: int, depth: int) -> tuple[bool, int]:
        number, after = read_number(decoder, position, end, depth)
        if number > 1:
            raise BadMessage("boolean is neither 0 nor 1")
        return number == 1, after

    return read


def _string_reader(order: str) -> Reader:
    unpack = struct.Struct(order + "I").unpack_from

    def read(decoder: Decoder, position: int, end: int, _depth: int) -> tuple[str, int]:
        position = ((position + 3) & -4) + 4
        data = decoder.data
        if position > end:
            raise BadMessage(_PAST_THE_END)
        last = position + unpack(data, position - 4)[0]
        if last >= end:
            raise BadMessage(_PAST_THE_END)
        text = _decode_text(data[position:last])
        if data[last] or "\0" in text:
            raise BadMessage("string with a NUL byte, or without one at its end")
        return text, last + 1

    return read


def _path_reader(order: str) -> Reader:
    read_string = _string_reader(order)

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


def _read_signature_text(decoder: Decoder, position: int, end: int) -> tuple[str, int]:
    data = decoder.data
    if position >= end:
        raise BadMessage(_PAST_THE_END)
    last = position + 1 + data[position]
    if last >= end or data[last]:
        raise BadMessage(_PAST_THE_END)
    # latin-1 never fails; a byte that is no type is refused by the parser.
    return data[position + 1 : last].decode("latin-1"), last + 1


def _read_signature(decoder: Decoder, position: int, end: int, _depth: int) -> tuple[str, int]:
    text, after = _read_signature_text(decoder, position, end)
    _charge_and_parse(decoder, text)
    return text, after


def _charge_and_parse(decoder: Decoder, text: str) -> ParsedSignature:
    decoder.budget -= 1 if is_cached(text) else _NEW_SIGNATURE_COST
    if decoder.budget < 0:
        raise BadMessage("body holds too many values")
    return parse_signature(text)


def _variant_reader(*, little: bool) -> Reader:
    new_variant = Variant.__new__

    def read(decoder: Decoder, position: int, end: int, depth: int) -> tuple[Variant, int]:
        text, position = _read_signature_text(decoder, position, end)
        parsed = _charge_and_parse(decoder, text)
        if len(parsed.types) != 1:
            raise BadMessage("variant without exactly one complete type")
        depth += 1
        if depth + parsed.depth > decoder.max_depth:
            raise BadMessage("body nested too deeply")
        # Not Variant(): it would check the value a second time, and look the signature up in dbus_next's own cache.
        variant = new_variant(Variant)
        variant.type = parsed.types[0]
        variant.signature = text
        variant.value, position = readers_of(parsed, little=little)[0](decoder, position, end, depth)
        return variant, position

    return read


def _struct_reader(members: tuple[Reader, ...]) -> Reader:
    def read(decoder: Decoder, position: int, end: int, depth: int) -> tuple[list[Any], int]:
        position = (position + 7) & -8
        decoder.budget -= len(members)
        values = []
        for read_member in members:
            value, position = read_member(decoder, position, end, depth + 1)
            values.append(value)
        return values, position

    return read


def _bounds_reader(order: str, alignment: int) -> Callable[[Decoder, int, int], tuple[int, int]]:
    """Return a function that reads an array's length and gives where its content begins and ends."""
    unpack = struct.Struct(order + "I").unpack_from

    def read(decoder: Decoder, position: int, end: int) -> tuple[int, int]:
        position = ((position + 3) & -4) + 4
        if position > end:
            raise BadMessage(_PAST_THE_END)
        length = unpack(decoder.data, position - 4)[0]
        position = (position + alignment - 1) & -alignment
        if position + length > end:
            raise BadMessage(_PAST_THE_END)
        return position, position + length

    return read


def _bytes_reader(order: str) -> Reader:
    bounds = _bounds_reader(order, 1)

    def read(decoder: Decoder, position: int, end: int, _depth: int) -> tuple[bytes, int]:
        start, stop = bounds(decoder, position, end)
        return decoder.data[start:stop], stop

    return read


def _fixed_array_reader(order: str, code: str) -> Reader:
    size = struct.calcsize(order + code)
    bounds = _bounds_reader(order, size)

    def read(decoder: Decoder, position: int, end: int, _depth: int) -> tuple[list[Any], int]:
        start, stop = bounds(decoder, position, end)
        count, rest = divmod(stop - start, size)
        if rest:
            raise BadMessage("array length is no multiple of its elements")
        return list(struct.unpack_from(f"{order}{count}{code}", decoder.data, start)), stop

    return read


def _array_reader(order: str, read_element: Reader, alignment: int) -> Reader:
    bounds = _bounds_reader(order, alignment)

    def read(decoder: Decoder, position: int, end: int, depth: int) -> tuple[list[Any], int]:
        position, stop = bounds(decoder, position, end)
        values = []
        while position < stop:
            decoder.budget -= 1
            if decoder.budget < 0:
                raise BadMessage("body holds too many values")
            value, position = read_element(decoder, position, stop, depth + 1)
            values.append(value)
        return values, stop

    return read


def _dict_reader(order: str, read_key: Reader, read_value: Reader) -> Reader:
    bounds = _bounds_reader(order, 8)

    def read(decoder: Decoder, position: int, end: int, depth: int) -> tuple[dict[Any, Any], int]:
        position, stop = bounds(decoder, position, end)
        values = {}
        while position < stop:
            decoder.budget -= 1
            if decoder.budget < 0:
                raise BadMessage("body holds too many values")
            key, position = read_key(decoder, (position + 7) & -8, stop, depth + 1)
            values[key], position = read_value(decoder, position, stop, depth + 1)
        return values, stop

    return read


def _leaf_readers(*, little: bool) -> dict[str, Reader]:
    order = "<" if little else ">"
    leaves: dict[str, Reader] = {token: _fixed_reader(order + code) for token, code in _FIXED_FORMATS.items()}
    leaves |= {"y": _read_byte, "b": _boolean_reader(order), "s": _string_reader(order), "o": _path_reader(order)}
    leaves |= {"g": _read_signature, "v": _variant_reader(little=little)}
    return leaves


_LITTLE = _leaf_readers(little=True)
_BIG = _leaf_readers(little=False)
