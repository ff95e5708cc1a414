"""Run on the lab host: call every method of isod with values of the right types that mean nothing, as dfuzzer does.

    busfuzz.py SECONDS SEED    prints how often each error came, as JSON; ends with 1 if isod left the bus

Objects and methods are found by introspection, as anybody would who knows nothing of isod. Needs jeepney.
"""

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection

BUS_NAME = "org.isoctl1"
ROOT = "/org/isoctl1"
TEXTS = (
    "",
    "x",
    "blog",
    "root",
    "-1",
    "%s%n",
    "../..",
    "/",
    "a\nb",
    "\x1b[2J",
    "\u202e",
    "é" * 300,
    "y" * 5000,
    "auto",
)
KEYS = (
    "",
    "x",
    "user",
    "id",
    "stdin",
    "terminal",
    "environment",
    "hints",
    "directory",
    "rows",
    "lines",
    "force",
    "via",
)
INTEGERS = {"y": (0, 255), "n": (-(2**15), 2**15 - 1), "q": (0, 2**16 - 1), "i": (-(2**31), 2**31 - 1),
            "u": (0, 2**32 - 1), "x": (-(2**63), 2**63 - 1), "t": (0, 2**64 - 1)}  # fmt: skip
VARIANTS = ("s", "as", "b", "u", "i", "t", "q", "h", "a{sv}", "ay", "v", "(ss)", "d", "o")
# It ends what the test itself needs.
SPARED = {"Stop", "Restart"}


class Values:
    """Random values of a signature."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.fds: list[int] = []

    def all(self, signature: str) -> tuple[Any, ...]:
        """One value for each complete type."""
        self.fds = []
        return tuple(self._one(kind) for kind in split(signature))

    def _one(self, kind: str, depth: int = 0) -> Any:
        source = self.source
        match kind[0]:
            case "s":
                return source.choice(TEXTS)
            case "b":
                return source.random() < 0.5
            case "d":
                return source.choice((0.0, -1.5, float("inf"), float("nan")))
            case "o":
                return source.choice((ROOT, "/", "/x", f"{ROOT}/container/blog"))
            case "g":
                return source.choice(("", "s", "a{sv}"))
            case "h":
                return self._fd()
            case "v":
                inner = source.choice(VARIANTS) if depth < 4 else "y"
                return (inner, self._one(inner, depth + 1))
            case "(":
                return tuple(self._one(part, depth) for part in split(kind[1:-1]))
            case "a" if kind[1] == "{":
                key, value = split(kind[2:-1])
                keys = KEYS if key == "s" else range(3)
                return {source.choice(keys): self._one(value, depth + 1) for _ in range(source.randrange(4))}
            case "a" if kind[1] == "y":
                return source.randbytes(source.randrange(40))
            case "a":
                return [self._one(kind[1:], depth + 1) for _ in range(source.choice((0, 1, 2, 3, 300)))]
            case code:
                least, most = INTEGERS[code]
                return source.choice((least, most, max(0, least), source.randint(least, most)))

    def _fd(self) -> int:
        # A descriptor of a kind that may not enter, or an end of a pipe; jeepney numbers them as they are sent.
        if self.source.random() < 0.5:
            read_fd, write_fd = os.pipe()
            os.close(write_fd)
            self.fds.append(read_fd)
        else:
            self.fds.append(os.open("/etc", os.O_RDONLY))
        return self.fds[-1]


def split(signature: str) -> list[str]:
    """Cut a signature into its complete types."""
    kinds, start = [], 0
    while start < len(signature):
        end = start
        while signature[end] == "a":
            end += 1
        depth = 0
        while True:
            depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(signature[end], 0)
            end += 1
            if depth == 0:
                break
        kinds.append(signature[start:end])
        start = end
    return kinds


def call(bus: DBusConnection, path: str, interface: str, member: str, signature: str = "", *body: Any) -> Any:
    """Give the reply, also an error."""
    address = DBusAddress(path, BUS_NAME, interface)
    return bus.send_and_get_reply(new_method_call(address, member, signature or None, body), timeout=60)


def methods(bus: DBusConnection, path: str = ROOT, depth: int = 0) -> Iterator[tuple[str, str, str, str]]:
    """Find all methods of an object and of a few below it."""
    reply = call(bus, path, "org.freedesktop.DBus.Introspectable", "Introspect")
    if reply.header.message_type is MessageType.error:
        return
    node = ET.fromstring(reply.body[0])
    for interface in node.iter("interface"):
        for method in interface.iter("method"):
            arguments = [arg.get("type", "") for arg in method.iter("arg") if arg.get("direction", "in") == "in"]
            yield path, interface.get("name", ""), method.get("name", ""), "".join(arguments)
    for child in list(node.findall("node"))[:3] if depth < 3 else ():
        yield from methods(bus, f"{path.rstrip('/')}/{child.get('name')}", depth + 1)


def main() -> int:
    """Fuzz for the time given."""
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    source = random.Random(seed)
    values = Values(source)
    told: Counter[str] = Counter()
    with open_dbus_connection("SYSTEM", enable_fds=True) as bus:
        found = [entry for entry in methods(bus) if entry[2] not in SPARED]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            path, interface, member, signature = source.choice(found)
            arguments = values.all(signature)
            try:
                reply = call(bus, path, interface, member, signature, *arguments)
            finally:
                for fd in values.fds:
                    os.close(fd)
            is_error = reply.header.message_type is MessageType.error
            told[reply.header.fields[HeaderFields.error_name] if is_error else "answered"] += 1
            for value in reply.body if not is_error else ():
                if hasattr(value, "close"):
                    value.close()
    print(json.dumps({"methods": len(found), "told": told}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
