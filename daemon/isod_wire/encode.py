"""Encode message bodies, refusing every value for which a broker would disconnect the sender.

dbus_next's marshaller passes strings with NUL, paths that end in a newline and invalid signatures; a broker answers
each of them by closing the connection, so one caller's text, echoed, would take the service off the bus.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isod_wire.decode import ALIGNMENT
from isod_wire.errors import BadMessage
from isod_wire.signature import ParsedSignature, SignatureType, Variant, parse_signature
from isod_wire.syntax import is_path

Writer = Callable[[bytearray, Any, int], None]

MAX_DEPTH = 64  # specification, "Valid Signatures"
_INTEGERS = {"n": "<h", "q": "<H", "i": "<i", "u": "<I", "h": "<I", "x": "<q", "t": "<Q"}


class UnencodableValue(ValueError):
    """A value does not fit its type; the message names the place."""

    def __init__(self, reason: str) -> None:
        """Keep the reason; each container on the way out adds its step to `place`."""
        super().__init__(reason)
        self.reason = reason
        self.place: list[object] = []

    def __str__(self) -> str:
        """Give the place, as indices from the outside in, and the reason."""
        place = "".join(f"[{step!r}]" for step in reversed(self.place))
        return f"body{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class EncodedBody:
    """A body that was encoded before, for an answer that is given again and again."""

    signature: str
    data: bytes

    @classmethod
    def of(cls, signature: str, body: Sequence[Any]) -> "EncodedBody":
        """Encode a body. Raises ValueError as encode_body does."""
        return cls(signature, encode_body(signature, body))


def encode_body(signature: str, body: "Sequence[Any] | EncodedBody") -> bytes:
    """Encode `body` little-endian.

    Takes a signature and one value per complete type: structs as list or tuple, arrays as list or tuple, `ay` as
    bytes, dicts as dict, variants as Variant. Raises ValueError, naming the place, for anything else.
    """
    if isinstance(body, EncodedBody):
        if body.signature != signature:
            raise UnencodableValue(f"encoded as {body.signature!r}, not {signature!r}")
        return body.data
    try:
        parsed = parse_signature(signature)
    except BadMessage as error:
        raise UnencodableValue(str(error)) from None
    if len(body) != len(parsed.types):
        raise UnencodableValue(f"{len(body)} values for the signature {signature!r}")
    out = bytearray()
    for index, (write, value) in enumerate(zip(writers_of(parsed), body, strict=True)):
        _write_at(index, write, out, value, 0)
    return bytes(out)


def writers_of(parsed: ParsedSignature) -> tuple[Writer, ...]:
    """Return the compiled writers of a signature, one per complete type."""
    compiled: tuple[Writer, ...] | None = parsed.writers
    if compiled is None:
        compiled = parsed.writers = tuple(_compile(node) for node in parsed.types)
    return compiled


def _compile(node: SignatureType) -> Writer:
    match node.token:
        case "(":
            return _struct_writer(tuple(_compile(child) for child in node.children))
        case "a":
            return _compile_array(node.children[0])
        case basic:
            return _LEAVES[basic]


def _compile_array(element: SignatureType) -> Writer:
    match element.token:
        case "y":
            return _write_bytes
        case "{":
            key, value = (_compile(part) for part in element.children)
            return _dict_writer(key, value)
        case other:
            return _array_writer(_compile(element), ALIGNMENT[other])


def _write_at(step: object, write: Writer, out: bytearray, value: Any, depth: int) -> None:
    try:
        write(out, value, depth)
    except UnencodableValue as error:
        error.place.append(step)
        raise


def _align(out: bytearray, alignment: int) -> None:
    out.extend(bytes(-len(out) % alignment))


def _integer_writer(code: str) -> Writer:
    packer = struct.Struct(code)

    def write(out: bytearray, value: Any, _depth: int) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise UnencodableValue(f"expected int, got {type(value).__name__}")
        _align(out, packer.size)
        try:
            out.extend(packer.pack(value))
        except struct.error:
            raise UnencodableValue("integer out of range") from None

    return write


def _write_byte(out: bytearray, value: Any, _depth: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 0xFF:
        raise UnencodableValue("expected an int from 0 to 255")
    out.append(value)


def _write_boolean(out: bytearray, value: Any, _depth: int) -> None:
    if not isinstance(value, bool):
        raise UnencodableValue(f"expected bool, got {type(value).__name__}")
    _align(out, 4)
    out.extend(struct.pack("<I", value))


def _write_double(out: bytearray, value: Any, _depth: int) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UnencodableValue(f"expected float, got {type(value).__name__}")
    _align(out, 8)
    out.extend(struct.pack("<d", value))


def _write_string(out: bytearray, value: Any, _depth: int) -> None:
    if not isinstance(value, str):
        raise UnencodableValue(f"expected str, got {type(value).__name__}")
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise UnencodableValue("string is not UTF-8") from None
    if b"\0" in data:
        raise UnencodableValue("string contains NUL")
    _align(out, 4)
    out.extend(struct.pack("<I", len(data)))
    out.extend(data)
    out.append(0)


def _write_path(out: bytearray, value: Any, depth: int) -> None:
    if not isinstance(value, str) or not is_path(value):
        raise UnencodableValue("invalid object path")
    _write_string(out, value, depth)


def _write_signature(out: bytearray, value: Any, _depth: int) -> None:
    if not isinstance(value, str):
        raise UnencodableValue(f"expected str, got {type(value).__name__}")
    try:
        parse_signature(value)
    except BadMessage as error:
        raise UnencodableValue(str(error)) from None
    out.append(len(value))
    out.extend(value.encode())
    out.append(0)


def _write_variant(out: bytearray, value: Any, depth: int) -> None:
    if not isinstance(value, Variant):
        raise UnencodableValue(f"expected Variant, got {type(value).__name__}")
    _write_signature(out, value.signature, depth)
    parsed = parse_signature(value.signature)
    if len(parsed.types) != 1:
        raise UnencodableValue("variant without exactly one complete type")
    if depth + 1 + parsed.depth > MAX_DEPTH:
        raise UnencodableValue("nested too deeply")
    writers_of(parsed)[0](out, value.value, depth + 1)


def _write_bytes(out: bytearray, value: Any, _depth: int) -> None:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise UnencodableValue(f"expected bytes, got {type(value).__name__}")
    _align(out, 4)
    out.extend(struct.pack("<I", len(value)))
    out.extend(value)


def _struct_writer(members: tuple[Writer, ...]) -> Writer:
    def write(out: bytearray, value: Any, depth: int) -> None:
        if not isinstance(value, list | tuple) or len(value) != len(members):
            raise UnencodableValue(f"expected a list or tuple of {len(members)}")
        _align(out, 8)
        for index, (write_member, member) in enumerate(zip(members, value, strict=True)):
            _write_at(index, write_member, out, member, depth + 1)

    return write


def _begin_array(out: bytearray, alignment: int) -> int:
    """Write a length of 0 and the padding before the first element; return where the content begins."""
    _align(out, 4)
    out.extend(bytes(4))
    _align(out, alignment)
    return len(out)


def _end_array(out: bytearray, length_at: int, start: int) -> None:
    struct.pack_into("<I", out, length_at, len(out) - start)


def _array_writer(write_element: Writer, alignment: int) -> Writer:
    def write(out: bytearray, value: Any, depth: int) -> None:
        if not isinstance(value, list | tuple):
            raise UnencodableValue(f"expected list or tuple, got {type(value).__name__}")
        length_at = len(out) + -len(out) % 4
        start = _begin_array(out, alignment)
        for index, element in enumerate(value):
            _write_at(index, write_element, out, element, depth + 1)
        _end_array(out, length_at, start)

    return write


def _dict_writer(write_key: Writer, write_value: Writer) -> Writer:
    def write(out: bytearray, value: Any, depth: int) -> None:
        if not isinstance(value, Mapping):
            raise UnencodableValue(f"expected dict, got {type(value).__name__}")
        length_at = len(out) + -len(out) % 4
        start = _begin_array(out, 8)
        for key, element in value.items():
            _align(out, 8)
            _write_at(key, write_key, out, key, depth + 1)
            _write_at(key, write_value, out, element, depth + 1)
        _end_array(out, length_at, start)

    return write


_LEAVES: dict[str, Writer] = {token: _integer_writer(code) for token, code in _INTEGERS.items()}
_LEAVES |= {"y": _write_byte, "b": _write_boolean, "d": _write_double, "s": _write_string, "o": _write_path}
_LEAVES |= {"g": _write_signature, "v": _write_variant}
