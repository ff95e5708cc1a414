"""A bus of a container that answers isod as an attacker likes; runs inside, as root, with the standard library alone.

`python3 fakebus.py BEHAVIOUR` listens in the place of the real bus and says `ready`. Up to the moment that a behaviour
is about, it answers as a bus and a systemd would.
"""

from __future__ import annotations

import array
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

PATH = "/run/dbus/system_bus_socket"
RETURN, ERROR, SIGNAL = 2, 3, 4
BUS, SYSTEMD = "org.freedesktop.DBus", ":1.7"
JOB = "/org/freedesktop/systemd1/job/1"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202e"


def text(value: str) -> bytes:
    """Marshal `s` or `o`."""
    data = value.encode()
    return struct.pack("<I", len(data)) + data + b"\0"


def message(kind: int, fields: dict[int, object], signature: str = "", body: bytes = b"", length: int = -1) -> bytes:
    """Build a message; `length` is told instead of the body's own."""
    if signature:
        fields = {**fields, 8: signature}
    header = b""
    for code, value in fields.items():
        header += bytes(-len(header) % 8)
        if isinstance(value, int):
            header += bytes([code, 1, ord("u"), 0]) + struct.pack("<I", value)
        elif code == 8:
            data = str(value).encode()
            header += bytes([code, 1, ord("g"), 0, len(data)]) + data + b"\0"
        else:
            header += bytes([code, 1, ord("o" if code == 1 else "s"), 0]) + text(str(value))
    fixed = struct.pack("<BBBBIII", ord("l"), kind, 0, 1, len(body) if length < 0 else length, 1, len(header))
    return fixed + header + bytes(-len(header) % 8) + body


def reply(serial: int, signature: str = "", body: bytes = b"", sender: str = SYSTEMD, length: int = -1) -> bytes:
    """Build an answer to a call."""
    return message(RETURN, {5: serial, 7: sender}, signature, body, length)


def size_of(data: bytes) -> int:
    """Give how long the message is that begins with these 16 bytes or more."""
    body, _, fields = struct.unpack_from("<III", data, 4)
    return int(16 + fields + -fields % 8 + body)


def read_call(data: bytes) -> tuple[int, str, str]:
    """Give serial, destination and member of a call."""
    _, serial, fields = struct.unpack_from("<III", data, 4)
    found = {}
    at = 16
    while at < 16 + fields:
        at += -at % 8
        code, kind = data[at], chr(data[at + 2])
        at += 4
        if kind == "g":
            at += data[at] + 2
        elif kind == "u":
            at += 4
        else:
            (size,) = struct.unpack_from("<I", data, at)
            found[code] = data[at + 4 : at + 4 + size].decode()
            at += size + 5
    return serial, found.get(6, ""), found.get(3, "")


class Peer:
    """One connection of isod's."""

    def __init__(self, sock: socket.socket, behaviour: str) -> None:
        self.sock = sock
        self.behaviour = behaviour
        self.buffer = b""

    def serve(self) -> None:
        """Answer until the connection ends."""
        with self.sock, suppress(OSError, EOFError):
            if self.behaviour == "silent":
                self.wait()
            if self.behaviour == "endless-line":
                self.flood(b"A" * 65536)
            self.line()
            self.send(b"OK 0123456789abcdef0123456789abcdef\r\n")
            self.line()
            self.send(b"AGREE_UNIX_FD\r\n")
            self.line()
            if self.behaviour == "silent-after-auth":
                self.wait()
            for serial, destination, member in self.calls():
                self.answer(serial, destination, member)

    def answer(self, serial: int, destination: str, member: str) -> None:
        """Answer one call, as the behaviour has it."""
        if destination == BUS:
            name = {"Hello": ":1.5", "GetNameOwner": SYSTEMD}.get(member)
            self.send(reply(serial, "s", text(name), BUS) if name else reply(serial, sender=BUS))
            return
        attack = ATTACKS.get(self.behaviour)
        # The subscription is the first that systemd is asked for, the start of an app the last.
        when = "StartTransientUnit" if self.behaviour.startswith("start-") else "Subscribe"
        if attack and member == when:
            attack(self, serial)
        elif member == "StartTransientUnit":
            self.send(reply(serial, "o", text(JOB)))
        elif member == "GetAll":
            self.send(reply(serial, "a{sv}", struct.pack("<I", 0) + bytes(4)))
        else:
            self.send(reply(serial))

    def calls(self) -> Iterator[tuple[int, str, str]]:
        """Give serial, destination and member of each call."""
        while True:
            while len(self.buffer) < 16 or len(self.buffer) < size_of(self.buffer):
                self.receive()
            size = size_of(self.buffer)
            yield read_call(self.buffer[:size])
            self.buffer = self.buffer[size:]

    def line(self) -> None:
        """Read a line of the handshake."""
        while b"\r\n" not in self.buffer:
            self.receive()
        self.buffer = self.buffer.partition(b"\r\n")[2]

    def receive(self) -> None:
        """Read what there is; descriptors that come along are dropped."""
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def send(self, data: bytes) -> None:
        """Send, in the pace of the behaviour."""
        if self.behaviour == "trickle":
            for byte in data:
                self.sock.sendall(bytes([byte]))
                time.sleep(1)
        else:
            self.sock.sendall(data)

    def send_fds(self, data: bytes, count: int) -> None:
        """Send with descriptors."""
        fds = array.array("i", [os.open("/dev/null", os.O_RDONLY)] * count)
        self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])

    def flood(self, data: bytes) -> None:
        """Send the same for ever."""
        while True:
            self.sock.sendall(data)

    def wait(self) -> None:
        """Read and say nothing."""
        while True:
            self.receive()


def fail(serial: int) -> bytes:
    """Build an error with a mebibyte of text, less what the rest of the message needs."""
    words = ESCAPES + "x" * (1024 * 1024 - 512)
    return message(ERROR, {5: serial, 7: SYSTEMD, 4: "org.freedesktop.systemd1.Evil"}, "s", text(words))


def nested(serial: int) -> bytes:
    """Build an answer of 100,000 variants in each other."""
    return reply(serial, "v", b"\1v\0" * 100_000 + b"\1y\0\7")


SIGNAL_BYTES = message(SIGNAL, {1: "/a", 2: "a.b", 3: "S", 7: SYSTEMD})
ODD_JOB = "/org/freedesktop/systemd1/job/../../x"
ATTACKS: dict[str, Callable[[Peer, int], None]] = {
    "wrong-serial": lambda peer, serial: peer.send(reply(serial + 1000)),
    "fds-200": lambda peer, serial: peer.send_fds(message(RETURN, {5: serial, 7: SYSTEMD, 9: 200}), 200),
    "header-4-gib": lambda peer, serial: peer.send(reply(serial, "ay", length=0xFFFF_FFF0)),
    "flood": lambda peer, _serial: peer.flood(SIGNAL_BYTES * 500),
    "error-1-mib": lambda peer, serial: peer.send(fail(serial)),
    "start-silent": lambda _peer, _serial: None,
    "start-twice": lambda peer, serial: peer.send(reply(serial, "o", text(JOB)) * 2),
    "start-fds-200": lambda peer, serial: peer.send_fds(
        message(RETURN, {5: serial, 7: SYSTEMD, 9: 200}, "o", text(JOB)), 200
    ),
    "start-depth-100000": lambda peer, serial: peer.send(nested(serial)),
    "start-flood": lambda peer, _serial: peer.flood(SIGNAL_BYTES * 500),
    "start-error-1-mib": lambda peer, serial: peer.send(fail(serial)),
    "start-odd-path": lambda peer, serial: peer.send(reply(serial, "o", text(ODD_JOB))),
    "start-other-type": lambda peer, serial: peer.send(reply(serial, "s", text("done"))),
}
BEHAVIOURS = ("silent", "silent-after-auth", "trickle", "endless-line", *ATTACKS)


def main(behaviour: str) -> None:
    """Listen, and serve each connection in a thread of its own."""
    with suppress(FileNotFoundError):
        os.unlink(PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(PATH)
        os.chmod(PATH, 0o666)
        listener.listen(16)
        print("ready", flush=True)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=Peer(sock, behaviour).serve, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
