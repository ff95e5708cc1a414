"""A client that sends whatever bytes and descriptors it likes, for tests of what the other side makes of them."""

import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Self

from buses import Bus
from isod_wire.decode import decode_body
from isod_wire.encode import encode_body
from isod_wire.header import read_fields, read_fixed_header

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE, UNIX_FDS = range(1, 10)

_TYPES = {PATH: "o", REPLY_SERIAL: "u", SIGNATURE: "g", UNIX_FDS: "u"}


def raw_message(
    kind: int,
    fields: dict[int, Any],
    *,
    serial: int = 1,
    flags: int = 0,
    signature: str = "",
    body: Sequence[Any] = (),
    raw_body: bytes | None = None,
    body_length: int | None = None,
    raw_fields: bytes = b"",
) -> bytes:
    """Build a message; `raw_fields` are appended to the header, `raw_body` and `body_length` override the truth."""
    content = encode_body(signature, body) if raw_body is None else raw_body
    if signature:
        fields = {**fields, SIGNATURE: signature}
    header = bytearray()
    for code, value in fields.items():
        header += bytes(-len(header) % 8) + bytes([code])
        kind_of_value = _TYPES.get(code, "s")
        header += bytes([1, ord(kind_of_value), 0])
        header += _encode(kind_of_value, value)
    if raw_fields:
        header += bytes(-len(header) % 8) + raw_fields
    length = len(content) if body_length is None else body_length
    fixed = struct.pack("<BBBBIII", ord("l"), kind, flags, 1, length, serial, len(header))
    return fixed + header + bytes(-len(header) % 8) + content


def _encode(kind: str, value: Any) -> bytes:
    if kind == "u":
        return struct.pack("<I", value)
    data = value.encode() if isinstance(value, str) else value
    if kind == "g":
        return bytes([len(data)]) + data + b"\0"
    return struct.pack("<I", len(data)) + data + b"\0"


class RawClient:
    """A blocking connection to a bus, authenticated and registered, that does not check what it sends."""

    def __init__(self, bus: Bus, uid: int | None = None, timeout_sec: float = 5.0) -> None:
        """Connect, for the bus as `uid` (needs root)."""
        self.sock = bus.socket_as(uid)
        self.sock.settimeout(timeout_sec)
        self._buffer = b""
        self._serial = 1
        identity = str(os.getuid() if uid is None else uid).encode().hex()
        self.sock.sendall(f"\0AUTH EXTERNAL {identity}\r\n".encode())
        assert self._line().startswith(b"OK ")
        self.sock.sendall(b"NEGOTIATE_UNIX_FD\r\nBEGIN\r\n")
        assert self._line() == b"AGREE_UNIX_FD"
        bus_call = {PATH: "/org/freedesktop/DBus", INTERFACE: "org.freedesktop.DBus", MEMBER: "Hello"}
        self.send(raw_message(CALL, {**bus_call, DESTINATION: "org.freedesktop.DBus"}))
        self.name = str(self.read_reply(1)[2][0])

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send bytes, with descriptors at the first of them; blocks."""
        if not fds:
            self.sock.sendall(data)
            return
        sent = socket.send_fds(self.sock, [data], list(fds))
        self.sock.sendall(data[sent:])

    def call(
        self,
        destination: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        fds: Sequence[int] = (),
        path: str = "/",
        interface: str = "org.example.Test",
        **forged: Any,
    ) -> int:
        """Send a call and return its serial."""
        self._serial += 1
        fields = {PATH: path, INTERFACE: interface, MEMBER: member, DESTINATION: destination}
        if fds:
            fields[UNIX_FDS] = len(fds)
        data = raw_message(CALL, fields, serial=self._serial, signature=signature, body=body, **forged)
        self.send(data, fds)
        return self._serial

    def read_message(self) -> tuple[int, dict[str, Any], list[Any]]:
        """Return kind, header fields and body of the next message; raises TimeoutError, EOFError."""
        fixed = read_fixed_header(self._need(16))
        data = self._need(fixed.total_bytes)
        self._buffer = self._buffer[fixed.total_bytes :]
        found = read_fields(data, fixed)
        body = data[fixed.header_bytes :]
        values = decode_body(body, found.get("signature", ""), little=fixed.little, max_depth=64, max_values=10_000_000)
        return fixed.kind, found, values

    def read_reply(self, serial: int) -> tuple[int, dict[str, Any], list[Any]]:
        """Return the reply to `serial`, passing over everything else."""
        while True:
            kind, found, values = self.read_message()
            if kind in {RETURN, ERROR} and found["reply_serial"] == serial:
                return kind, found, values

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def __enter__(self) -> Self:
        """Return the client, to be closed at the end of the block."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the socket."""
        self.close()

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._buffer += self._receive()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _need(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._buffer += self._receive()
        return self._buffer[:count]

    def _receive(self) -> bytes:
        data = self.sock.recv(1 << 20)
        if not data:
            raise EOFError
        return data


Attack = Callable[..., RawClient]
"""Gives a client that is not held to the protocol."""
