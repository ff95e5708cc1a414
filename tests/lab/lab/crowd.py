"""Run on the lab host: launch many apps by one connection, as attached ones for as long as standard input is open.

    crowd.py detached|attached COUNT CONTAINER...

Prints one line of JSON: how many of the calls ended how, by the error's name; an empty name is a launch.
"""

import json
import os
import sys
import time
from collections import Counter
from itertools import cycle, islice
from typing import Any

_QUEUE_SEC = 0.2


def _run(bus: Any, container: str, lifetime: int | None) -> tuple[str, str]:
    """Launch one; gives the error's name and text."""
    from jeepney import DBusAddress, HeaderFields, new_method_call

    options = {"login-shell": ("b", False)} | ({} if lifetime is None else {"lifetime": ("h", lifetime)})
    address = DBusAddress("/org/isoctl1", "org.isoctl1", "org.isoctl1.Manager")
    call = new_method_call(address, "Run", "sasa{sv}", (container, ["sleep", "99999"], options))
    reply = bus.send_and_get_reply(call, timeout=60)
    name = reply.header.fields.get(HeaderFields.error_name, "")
    return name.rpartition(".")[2], str(reply.body[0])


def main(kind: str, count: int, containers: list[str]) -> None:
    """Launch them, wherever there is room in the queue."""
    from jeepney.io.blocking import open_dbus_connection

    bus = open_dbus_connection("SYSTEM", enable_fds=True)
    lifetime, _held = os.pipe() if kind == "attached" else (None, None)
    ended: Counter[str] = Counter()
    text = ""
    for container in islice(cycle(containers), count):
        name, text = _run(bus, container, lifetime)
        while "under way" in text or "calls per second" in text:
            time.sleep(_QUEUE_SEC)
            name, text = _run(bus, container, lifetime)
        ended[name] += 1
    print(json.dumps({"ended": ended, "text": text}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
