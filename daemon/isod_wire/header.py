"""Message headers: sizes first, then the fields; unknown fields are skipped, known ones checked."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from isod_wire.decode import charge_and_parse, readers_of
from isod_wire.errors import BadMessage
from isod_wire.leaves import Decoder
from isod_wire.message import KNOWN_KINDS, MessageKind
from isod_wire.syntax import is_bus_name, is_interface, is_member, is_path

FIXED_HEADER_BYTES = 16
MAX_SPEC_MESSAGE_BYTES = 128 * 1024 * 1024
MAX_SPEC_ARRAY_BYTES = 64 * 1024 * 1024

NO_REPLY_EXPECTED = 1
ALLOW_INTERACTIVE = 4

_PROTOCOL_VERSION = 1
_SERIAL_AT = 8
_REPLY_SERIAL = 5
_MAX_FIELDS = 64
_REMEMBERED_BYTES_MAX = 512
_BYTE_ORDERS = {ord("l"): "<", ord("B"): ">"}

# Field code -> (attribute, type, check); specification, "Header Fields".
_FIELDS: dict[int, tuple[str, str, Callable[[str], bool] | None]] = {
    1: ("path", "o", is_path),
    2: ("interface", "s", is_interface),
    3: ("member", "s", is_member),
    4: ("error_name", "s", is_interface),
    5: ("reply_serial", "u", None),
    6: ("destination", "s", is_bus_name),
    7: ("sender", "s", is_bus_name),
    8: ("signature", "g", None),
    9: ("fd_count", "u", None),
}
_REQUIRED = {
    MessageKind.METHOD_CALL: ("path", "member"),
    MessageKind.METHOD_RETURN: ("reply_serial",),
    MessageKind.ERROR: ("reply_serial", "error_name"),
    MessageKind.SIGNAL: ("path", "interface", "member"),
}


class FixedHeader(NamedTuple):
    """The first 16 bytes: what is needed to find the end of the message."""

    little: bool
    kind: int
    flags: int
    body_bytes: int
    serial: int
    fields_bytes: int

    @property
    def header_bytes(self) -> int:
        """Size up to where the body begins."""
        return FIXED_HEADER_BYTES + (self.fields_bytes + 7) // 8 * 8

    @property
    def total_bytes(self) -> int:
        """Size of the whole message."""
        return self.header_bytes + self.body_bytes


def read_fixed_header(data: bytes | bytearray, offset: int = 0) -> FixedHeader:
    """Read the fixed part at `offset`; raises BadMessage if the stream can't be D-Bus from here on."""
    order = _BYTE_ORDERS.get(data[offset])
    if order is None or data[offset + 3] != _PROTOCOL_VERSION:
        raise BadMessage("not a D-Bus message")
    body_bytes, serial, fields_bytes = struct.unpack_from(order + "III", data, offset + 4)
    fixed = FixedHeader(order == "<", data[offset + 1], data[offset + 2], body_bytes, serial, fields_bytes)
    if fields_bytes > MAX_SPEC_ARRAY_BYTES or fixed.total_bytes > MAX_SPEC_MESSAGE_BYTES:
        raise BadMessage("message larger than D-Bus allows")
    return fixed


def read_fields(data: bytes, fixed: FixedHeader) -> dict[str, Any]:
    """Decode the header fields of a message that starts at `data[0]`.

    Returns attribute name -> value for the fields that are there. Raises BadMessage for a known field of another
    type, with an invalid name, given twice, or missing for this kind of message; unknown fields are skipped.
    """
    if fixed.serial == 0:
        raise BadMessage("header field missing")
    fields = bytes(data[FIXED_HEADER_BYTES : FIXED_HEADER_BYTES + fixed.fields_bytes])
    read = _read_known if len(fields) <= _REMEMBERED_BYTES_MAX else _read_fields
    return dict(read(fields, fixed.little, fixed.kind, bool(fixed.body_bytes)))


def _read_fields(fields: bytes, little: bool, kind_code: int, has_body: bool) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    # A header holds few values; this bounds what unknown fields can cost.
    decoder = Decoder(fields, max_depth=16, max_values=1_024)
    position, count, end = 0, 0, len(fields)
    while position < end:
        # The fields begin at a multiple of eight, so their alignment is the message's.
        position, count = (position + 7) & -8, count + 1
        if count > _MAX_FIELDS:
            raise BadMessage("too many header fields")
        position = _read_field(decoder, position, end, little, found)
    kind = KNOWN_KINDS.get(kind_code)
    if kind and not all(found.get(name) for name in _REQUIRED[kind]):
        raise BadMessage("header field missing")
    if has_body and not found.get("signature"):
        raise BadMessage("body without a signature")
    return MappingProxyType(found)


# One who calls again and again sends the same fields each time: what a flood costs is mostly this. Of a bounded number
# of small headers; one that is refused is not remembered.
_read_known = lru_cache(maxsize=1024)(_read_fields)


def _read_field(decoder: Decoder, position: int, end: int, little: bool, found: dict[str, Any]) -> int:
    data = decoder.data
    if position + 2 > end:
        raise BadMessage("header field cut short")
    code, signature_at = data[position], position + 2
    value_at = signature_at + data[position + 1]
    if value_at >= end or data[value_at]:
        raise BadMessage("header field cut short")
    signature = data[signature_at:value_at].decode("latin-1")
    known = _FIELDS.get(code)
    if known and (signature != known[1] or known[0] in found):
        raise BadMessage(f"header field {code} is given twice or has the wrong type")
    parsed = charge_and_parse(decoder, signature)
    if len(parsed.types) != 1 or parsed.depth > decoder.max_depth:
        raise BadMessage("header field is not one plain value")
    read = readers_of(parsed, little=little)[0]
    value, position = read(decoder, value_at + 1, end, 0)
    if known:
        name, _, is_valid = known
        if is_valid and not is_valid(value):
            raise BadMessage(f"header field {code} is no valid name")
        found[name] = value
    return position


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a message that we send goes, and what it is."""

    kind: MessageKind
    destination: str | None = None
    path: str | None = None
    interface: str | None = None
    member: str | None = None
    error_name: str | None = None
    reply_serial: int = 0
    flags: int = 0

    def __post_init__(self) -> None:
        """Refuse names for which a broker would disconnect us; raises ValueError with the field's name."""
        for name, _type, is_valid in _FIELDS.values():
            value = getattr(self, name, None)
            if is_valid and value is not None and not is_valid(value):
                raise ValueError(f"{name} is not valid: {value!r}")
        if not all(getattr(self, name) for name in _REQUIRED[self.kind]):
            raise ValueError(f"{self.kind.name} needs {' and '.join(_REQUIRED[self.kind])}")


def encode_header(route: Route, serial: int, signature: str, body_bytes: int, fd_count: int) -> bytes:
    """Encode everything before the body, padded to where the body begins, little-endian."""
    fields = _encode_names(
        route.path, route.interface, route.member, route.error_name, route.destination, signature, fd_count
    )
    if route.reply_serial:
        # First, since it takes eight bytes and so moves nothing: all else is the same for the next reply.
        fields = struct.pack("<BBBxI", _REPLY_SERIAL, 1, ord("u"), route.reply_serial) + fields
    fixed = struct.pack(
        "<BBBBIII", ord("l"), route.kind, route.flags, _PROTOCOL_VERSION, body_bytes, serial, len(fields)
    )
    return fixed + fields + bytes(-len(fields) % 8)


@lru_cache(maxsize=1024)
def _encode_names(
    path: str | None,
    interface: str | None,
    member: str | None,
    error_name: str | None,
    destination: str | None,
    signature: str,
    fd_count: int,
) -> bytes:
    values: dict[str, Any] = {
        "path": path,
        "interface": interface,
        "member": member,
        "error_name": error_name,
        "destination": destination,
        "signature": signature,
        "fd_count": fd_count,
    }
    fields = bytearray()
    for code, (name, type_code, _check) in _FIELDS.items():
        value = values.get(name)
        if not value:
            continue
        fields.extend(bytes(-len(fields) % 8))
        fields.extend((code, 1, ord(type_code), 0))
        if type_code == "u":
            fields.extend(struct.pack("<I", value))
        elif type_code == "g":
            fields.extend((len(value), *value.encode(), 0))
        else:
            text = value.encode()
            fields.extend(struct.pack(f"<I{len(text) + 1}s", len(text), text))
    return bytes(fields)


def set_serial(message: bytearray, serial: int) -> None:
    """Give an encoded message, little-endian, its serial."""
    struct.pack_into("<I", message, _SERIAL_AT, serial)


def set_reply_serial(message: bytearray, serial: int) -> None:
    """Let an encoded reply be one to another call; its serial is the first of its fields."""
    struct.pack_into("<I", message, FIXED_HEADER_BYTES + 4, serial)
