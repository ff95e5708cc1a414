"""Decode message bodies from bytes that a stranger wrote, with caps on depth and on the number of values.

dbus_next's unmarshaller reads on from the socket when a length inside the message lies, has no depth cap, and is
three times slower; so this is our own, compiled once a signature into nested closures. Each reader takes
(decoder, position, end, depth) and returns (value, next position); positions are relative to the body, which the
specification ("Message Format") puts at a multiple of 8.
"""

import struct
from collections.abc import Callable
from typing import Any

from isod_wire.errors import BadMessage
from isod_wire.leaves import (
    FIXED_FORMATS,
    PAST_THE_END,
    Decoder,
    Reader,
    boolean_reader,
    fixed_reader,
    path_reader,
    read_byte,
    read_signature_text,
    string_reader,
)
from isod_wire.signature import ParsedSignature, SignatureType, Variant, is_cached, parse_signature

# What parsing and compiling a signature that is not cached costs, in values that could be read in the same time.
_NEW_SIGNATURE_COST = 16
_NEW_CHARACTER_COST = 4

ALIGNMENT = {**dict.fromkeys("ygv", 1), **dict.fromkeys("nq", 2), **dict.fromkeys("biuhsoa", 4)}
ALIGNMENT.update(dict.fromkeys("xtd({", 8))


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
        case number if number in FIXED_FORMATS:
            return _fixed_array_reader(order, FIXED_FORMATS[number])
        case other:
            return _array_reader(order, _compile(element, little=little), ALIGNMENT[other])


def _read_signature(decoder: Decoder, position: int, end: int, _depth: int) -> tuple[str, int]:
    text, after = read_signature_text(decoder, position, end)
    charge_and_parse(decoder, text)
    return text, after


def charge_and_parse(decoder: Decoder, text: str) -> ParsedSignature:
    """Parse a signature on the decoder's budget; raises BadMessage if it is invalid or the budget is spent."""
    decoder.budget -= 1 if is_cached(text) else _NEW_SIGNATURE_COST + _NEW_CHARACTER_COST * len(text)
    if decoder.budget < 0:
        raise BadMessage("body holds too many values")
    return parse_signature(text)


def _variant_reader(*, little: bool) -> Reader:
    new_variant = Variant.__new__

    def read(decoder: Decoder, position: int, end: int, depth: int) -> tuple[Variant, int]:
        text, position = read_signature_text(decoder, position, end)
        parsed = charge_and_parse(decoder, text)
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
            raise BadMessage(PAST_THE_END)
        length = unpack(decoder.data, position - 4)[0]
        position = (position + alignment - 1) & -alignment
        if position + length > end:
            raise BadMessage(PAST_THE_END)
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
    leaves: dict[str, Reader] = {token: fixed_reader(order + code) for token, code in FIXED_FORMATS.items()}
    leaves |= {"y": read_byte, "b": boolean_reader(order), "s": string_reader(order), "o": path_reader(order)}
    leaves |= {"g": _read_signature, "v": _variant_reader(little=little)}
    return leaves


_LITTLE = _leaf_readers(little=True)
_BIG = _leaf_readers(little=False)
