"""Run on the lab host: flood isod with calls, or time one user's own calls meanwhile; needs nothing but Python.

    flood.py flood CONNECTIONS CALLS_PER_SEC SECONDS    prints what became of the calls; 0 connections: all it can get
    flood.py time SECONDS                               prints milliseconds of each call to isod and to the bus itself

Both print "ready" once they are connected; the second then waits for a line on standard input.
"""

import json
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator

_BUS = "/run/dbus/system_bus_socket"
_DRIVER = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_MANAGER = ("org.isoctl1", "/org/isoctl1", "org.isoctl1.Manager")
_TICK_SEC = 0.02
_PAUSE_SEC = 0.02
_TIMEOUT_SEC = 60.0
_SERIAL_AT = 8


def _message(target: tuple[str, str, str], member: str) -> bytes:
    """Give a call without arguments; its serial is zero still."""
    destination, path, interface = target
    fields = b""
    for code, kind, text in ((1, b"o", path), (2, b"s", interface), (3, b"s", member), (6, b"s", destination)):
        fields += bytes(-len(fields) % 8) + bytes([code, 1]) + kind + b"\0"
        fields += struct.pack("<I", len(text)) + text.encode() + b"\0"
    return struct.pack("<BBBBIII", ord("l"), 1, 0, 1, 0, 0, len(fields)) + fields + bytes(-len(fields) % 8)


class _Client:
    """One connection to the bus."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(_TIMEOUT_SEC)
        self.socket.connect(_BUS)
        self.socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        self.buffer = b""
        lines = b""
        while lines.count(b"\r\n") < 2:
            data = self.socket.recv(1)
            if not data:
                raise ConnectionError("refused by the bus")
            lines += data
        self.serial = 0
        if self.call(_message(_DRIVER, "Hello"))[1] != 2:
            raise ConnectionError("refused by the bus")

    def send(self, message: bytes) -> None:
        """Send a call with the next serial."""
        self.serial += 1
        self.socket.send(message[:_SERIAL_AT] + struct.pack("<I", self.serial) + message[_SERIAL_AT + 4 :])

    def messages(self) -> Iterator[bytes]:
        """Take whole messages out of what was read."""
        while len(self.buffer) >= 16:
            body, _, fields = struct.unpack_from("<III", self.buffer, 4)
            end = 16 + (fields + 7) // 8 * 8 + body
            if len(self.buffer) < end:
                return
            message, self.buffer = self.buffer[:end], self.buffer[end:]
            yield message

    def read(self) -> bool:
        """Read some; tells whether the connection is still there."""
        data = self.socket.recv(65536)
        self.buffer += data
        return bool(data)

    def call(self, message: bytes) -> bytes:
        """Call, and give the reply, whatever else arrives."""
        self.send(message)
        while True:
            for answer in self.messages():
                if answer[1] in {2, 3}:
                    return answer
            if not self.read():
                raise ConnectionError("closed by the bus")


def _connections(count: int) -> list[_Client]:
    clients: list[_Client] = []
    while not count or len(clients) < count:
        try:
            clients.append(_Client())
        except OSError:
            if count:
                raise
            break
    return clients


def flood(count: int, calls_per_sec: float, seconds: float) -> dict[str, int]:
    """Call on many connections at once, without waiting for answers."""
    clients = _connections(count)
    counts = {"connections": len(clients), "sent": 0, "unsent": 0, "answered": 0, "limit": 0, "denied": 0, "closed": 0}
    message = _message(_MANAGER, "ListContainers")
    selector = selectors.DefaultSelector()
    for client in clients:
        client.socket.setblocking(False)
        selector.register(client.socket, selectors.EVENT_READ, client)
    began = time.monotonic()
    due = 0
    print("ready", flush=True)
    while (now := time.monotonic()) < began + seconds:
        wanted = int((now - began) * calls_per_sec)
        for client in clients if wanted > due else ():
            for _ in range(wanted - due):
                try:
                    client.send(message)
                    counts["sent"] += 1
                except BlockingIOError:
                    counts["unsent"] += 1
        due = wanted
        for key, _ in selector.select(_TICK_SEC):
            client = key.data
            if not client.read():
                selector.unregister(client.socket)
                clients.remove(client)
                counts["closed"] += 1
            for answer in client.messages():
                counts["limit"] += answer[1] == 3 and b"LimitExceeded" in answer
                counts["denied"] += answer[1] == 3 and b"AccessDenied" in answer
                counts["answered"] += answer[1] == 2
    return counts


def timed(seconds: float) -> dict[str, list[float]]:
    """Call isod and the bus in turn."""
    client = _Client()
    calls = {"isod": _message(_MANAGER, "ListContainers"), "bus": _message(_DRIVER, "GetId")}
    # Whose connection it is, isod asks once.
    client.call(calls["isod"])
    times: dict[str, list[float]] = {name: [] for name in calls}
    print("ready", flush=True)
    sys.stdin.readline()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, message in calls.items():
            began = time.perf_counter()
            try:
                answer = client.call(message)
            except TimeoutError:
                times[name].append(_TIMEOUT_SEC * 1000)
                return times
            times[name].append((time.perf_counter() - began) * 1000)
            if answer[1] != 2:
                raise SystemExit(f"{name} refused a call: {answer!r}")
            time.sleep(_PAUSE_SEC)
    return times


if __name__ == "__main__":
    verb, *numbers = sys.argv[1:]
    if verb == "flood":
        print(json.dumps(flood(int(numbers[0]), float(numbers[1]), float(numbers[2]))))
    else:
        print(json.dumps(timed(float(numbers[0]))))
