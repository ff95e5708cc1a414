"""A client of the lab's system bus that makes calls and shows answers whole, with an error's name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from isod_contract import names
from lab.enter import LabProcess
from lab.machine import Lab

_SCRIPT = """
import json, os, sys
from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection("SYSTEM", enable_fds=True)

def shown(value):
    if hasattr(value, "to_raw_fd"):
        os.close(value.to_raw_fd())
        return "fd"
    raise TypeError(value)

for line in sys.stdin:
    destination, path, interface, member, signature, body = json.loads(line)
    message = new_method_call(DBusAddress(path, destination, interface), member, signature or None, tuple(body))
    reply = bus.send_and_get_reply(message, timeout=60)
    error = reply.header.fields.get(HeaderFields.error_name, "")
    print(json.dumps({"error": error, "body": reply.body}, default=shown), flush=True)
"""


@dataclass(frozen=True)
class Answer:
    """What came back: an error's name or "", and the values; a descriptor is shown as "fd" and closed."""

    error: str
    body: tuple[Any, ...]

    @property
    def text(self) -> str:
        """All of it, to look for what must not be there."""
        return json.dumps([self.error, self.body])


class BusCaller:
    """One connection of a user, of a process on the lab host unless told how to start it; a context manager."""

    def __init__(self, lab: Lab, user: str, popen: Callable[..., LabProcess] | None = None) -> None:
        self.user = user
        pipe = subprocess.PIPE
        self._process = (popen or lab.popen)("python3", "-c", _SCRIPT, user=user, stdin=pipe, stdout=pipe)

    def __enter__(self) -> BusCaller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)

    def call(self, path: str, interface: str, member: str, signature: str = "", *body: Any) -> Answer:
        """Call isod; a variant in the body is written as [signature, value]."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = json.dumps([names.BUS_NAME, path, interface, member, signature, body])
        self._process.stdin.write(request.encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Answer(answer["error"], tuple(answer["body"]))

    def manager(self, member: str, signature: str = "", *body: Any) -> Answer:
        """Call the Manager."""
        return self.call(names.ROOT_PATH, names.MANAGER, member, signature, *body)
