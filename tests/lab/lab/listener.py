"""A client of the lab's system bus that notes every signal it gets."""

from __future__ import annotations

import json
import subprocess
import threading
from types import TracebackType
from typing import Any

from isod_contract import names
from lab.machine import Lab

# Its own thread waits for the end of stdin and then pings isod: the answer comes after all that isod sent before.
_SCRIPT = """
import json, sys, threading
from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
name, root, interface, subscribes = sys.argv[1:]
bus = open_dbus_connection("SYSTEM")
bus.send_and_get_reply(message_bus.AddMatch(MatchRule(type="signal", sender=name)))
if subscribes == "yes":
    reply = bus.send_and_get_reply(new_method_call(DBusAddress(root, name, interface), "Subscribe"))
    assert reply.header.message_type is MessageType.method_return, reply.body
print(json.dumps({"ready": True}), flush=True)
ping = new_method_call(DBusAddress(root, name, "org.freedesktop.DBus.Peer"), "Ping")
serial = next(bus.outgoing_serial)
threading.Thread(target=lambda: (sys.stdin.read(), bus.send(ping, serial=serial)), daemon=True).start()
while True:
    message = bus.receive()
    fields = message.header.fields
    if fields.get(HeaderFields.reply_serial) == serial:
        break
    if message.header.message_type is MessageType.signal and fields[HeaderFields.sender] != "org.freedesktop.DBus":
        signal = {"path": fields[HeaderFields.path], "member": fields[HeaderFields.member], "body": message.body}
        print(json.dumps(signal), flush=True)
"""


class Listener:
    """One connection of a user; use it as a context manager."""

    def __init__(self, lab: Lab, user: str, *, subscribes: bool) -> None:
        self._process = lab.popen(
            *("python3", "-c", _SCRIPT, names.BUS_NAME, names.ROOT_PATH, names.MANAGER),
            "yes" if subscribes else "no",
            user=user,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.signals: list[dict[str, Any]] = []
        self._end_asked = False
        assert self._process.stdout.readline(), "the listener did not come up"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.signals.append(json.loads(line))

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def finish(self) -> list[dict[str, Any]]:
        """Take in all that isod has sent until now, leave the bus, and give what came."""
        assert self._process.stdin is not None
        if not self._end_asked:
            self._end_asked = True
            self._process.stdin.close()
        assert self._process.wait(20) == 0
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self.signals

    def told(self, path: str) -> list[str]:
        """Give the members of the signals about an object: those on it, and those that name it."""
        return [signal["member"] for signal in self.signals if path in (signal["path"], *signal["body"][:1])]
