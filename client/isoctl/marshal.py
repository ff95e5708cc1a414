"""D-Bus values to bytes and back (D-Bus specification, "Marshalling"), without imports that cost start-up time.

Python values: bool, int, float, str as they are; arrays are lists, `ay` is bytes, dictionaries are dicts, structs
are tuples, a variant is a pair (signature, value), received as a Variant. A file descriptor is an int: sent as
itself, received as its index into the fds of the message.
"""

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
_ALIGN = {"y": 1, "g": 1, "v": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}
_ARRAY_BYTES_MAX = 1 << 26  # the specification's own limit
_DEPTH_MAX = 64


class Variant(tuple["str", "Any"]):
    """A received variant: signature and value; a tuple of its own kind, since a struct is a tuple too."""

    __slots__ = ()


class MarshalError(ValueError):
    """A value does not fit its signature, or received bytes are not what D-Bus allows."""


def single_types(signature: str) -> list[str]:
    """Split a signature into its single complete types: `sa{sv}u` gives s, a{sv}, u."""
    types = []
    start = 0
    while start < len(signature):
        end = _end_of_type(signature, start, 0)
        types.append(signature[start:end])
        start = end
    return types


def _end_of_type(signature: str, start: int, depth: int) -> int:
    """Give the position after the single type that begins at `start`."""
    if start >= len(signature) or depth > _DEPTH_MAX:
        message = f"broken signature {signature!r}"
        raise MarshalError(message)
    code = signature[start]
    if code == "a":
        return _end_of_type(signature, start + 1, depth + 1)
    if code in "({":
        position = start + 1
        closing = ")" if code == "(" else "}"
        while signature[position : position + 1] != closing:
            position = _end_of_type(signature, position, depth + 1)
        return position + 1
    if code not in _FIXED and code not in "sogv":
        message = f"unknown type {code!r} in signature {signature!r}"
        raise MarshalError(message)
    return start + 1


def encode(signature: str, values: "tuple[Any, ...]", fds: list[int]) -> bytes:
    """Write a message body, little-endian; file descriptors are appended to `fds`. Raises MarshalError."""
    out = bytearray()
    types = single_types(signature)
    if len(types) != len(values):
        message = f"{len(values)} values for signature {signature!r}"
        raise MarshalError(message)
    for single, value in zip(types, values, strict=True):
        _put(out, single, value, fds)
    return bytes(out)


def _pad(out: bytearray, alignment: int) -> None:
    """Fill up to a multiple of the alignment."""
    out.extend(bytes(-len(out) % alignment))


def _put(out: bytearray, single: str, value: "Any", fds: list[int]) -> None:
    """Write one value of a single type."""
    code = single[0]
    _pad(out, _ALIGN.get(code, 4))
    if code in "so":
        raw = value.encode()
        out += struct.pack("<I", len(raw)) + raw + b"\0"
    elif code == "h":
        fds.append(value)
        out += struct.pack("<I", len(fds) - 1)
    elif code in _FIXED:
        try:
            out += struct.pack("<" + _FIXED[code], value)
        except struct.error as error:
            message = f"{value!r} does not fit type {code!r}"
            raise MarshalError(message) from error
    elif code == "g":
        raw = value.encode("ascii")
        out += bytes((len(raw),)) + raw + b"\0"
    elif code == "v":
        inner, content = value
        _put(out, "g", inner, fds)
        _put(out, inner, content, fds)
    elif code == "a":
        _put_array(out, single[1:], value, fds)
    else:
        for inner, item in zip(single_types(single[1:-1]), value, strict=True):
            _put(out, inner, item, fds)


def _put_array(out: bytearray, element: str, value: "Any", fds: list[int]) -> None:
    """Write an array: length of the elements alone, padding to the first one, elements."""
    length_at = len(out)
    out += b"\0\0\0\0"
    _pad(out, _ALIGN.get(element[0], 4))
    start = len(out)
    if element == "y":
        out += value
    else:
        for item in value.items() if element[0] == "{" else value:
            _put(out, element, item, fds)
    length = len(out) - start
    if length > _ARRAY_BYTES_MAX:
        message = "an array is larger than 64 MiB"
        raise MarshalError(message)
    struct.pack_into("<I", out, length_at, length)


def decode(signature: str, raw: bytes, *, little: bool = True) -> "list[Any]":
    """Read a message body. Raises MarshalError for anything that does not fit."""
    reader = Reader(raw, little=little)
    values = [reader.take(single, 0) for single in single_types(signature)]
    if reader.position != len(raw):
        message = "bytes left over after the last value"
        raise MarshalError(message)
    return values


class Reader:
    """Reads values one after the other from received bytes."""

    __slots__ = ("order", "position", "raw")

    def __init__(self, raw: bytes, *, little: bool, position: int = 0) -> None:
        """Begin at `position`, which counts for the alignment too."""
        self.raw = raw
        self.position = position
        self.order = "<" if little else ">"

    def take(self, single: str, depth: int) -> "Any":
        """Read one value of a single type."""
        if depth > _DEPTH_MAX:
            message = "values nested too deeply"
            raise MarshalError(message)
        code = single[0]
        self._align(_ALIGN.get(code, 4))
        if code in "so":
            return self._text(self._fixed("I"))
        if code in _FIXED:
            value = self._fixed(_FIXED[code])
            return bool(value) if code == "b" else value
        if code == "g":
            return self._text(self._fixed("B"))
        if code == "v":
            inner = self.take("g", depth)
            if len(single_types(inner)) != 1:
                message = f"a variant holds {inner!r}, not one value"
                raise MarshalError(message)
            return Variant((inner, self.take(inner, depth + 1)))
        if code == "a":
            return self._array(single[1:], depth)
        return tuple(self.take(inner, depth + 1) for inner in single_types(single[1:-1]))

    def _array(self, element: str, depth: int) -> "Any":
        """Read an array; of bytes as bytes, of pairs as a dictionary."""
        length = self._fixed("I")
        self._align(_ALIGN.get(element[0], 4))
        end = self.position + length
        if end > len(self.raw):
            message = "an array is longer than its message"
            raise MarshalError(message)
        if element == "y":
            self.position = end
            return self.raw[end - length : end]
        items = []
        while self.position < end:
            before = self.position
            items.append(self.take(element, depth + 1))
            if self.position == before:  # only an empty struct could, which D-Bus forbids
                message = "an array of nothing"
                raise MarshalError(message)
        if self.position != end:
            message = "an array's last element is cut short"
            raise MarshalError(message)
        return dict(items) if element[0] == "{" else items

    def _align(self, alignment: int) -> None:
        """Skip the padding."""
        self.position += -self.position % alignment

    def _fixed(self, form: str) -> "Any":
        """Read one number."""
        try:
            (value,) = struct.unpack_from(self.order + form, self.raw, self.position)
        except struct.error as error:
            message = "a message is cut short"
            raise MarshalError(message) from error
        self.position += struct.calcsize("=" + form)
        return value

    def _text(self, length: int) -> str:
        """Read a string of that many bytes and the NUL after it."""
        end = self.position + length
        if self.raw[end : end + 1] != b"\0":
            message = "a string has no end"
            raise MarshalError(message)
        try:
            text = self.raw[self.position : end].decode()
        except UnicodeDecodeError as error:
            message = "a string is not UTF-8"
            raise MarshalError(message) from error
        self.position = end + 1
        return text


def plain(value: "Any") -> "Any":
    """Take the variants off a received value, at every depth; structs become lists."""
    if isinstance(value, Variant):
        return plain(value[1])
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
