"""Run on the lab host as the user: a picture of mutter's screen, or typing into it, through mutter's own D-Bus API.

Needs nothing but jeepney and GStreamer there; `shot WIDTH HEIGHT` writes a PPM to stdout, `type TEXT` presses keys.
"""

import subprocess
import sys
import time
from typing import Any

from jeepney import DBusAddress, MatchRule, MessageType, message_bus, new_method_call
from jeepney.io.blocking import DBusConnection, Proxy, open_dbus_connection

CAST = "org.gnome.Mutter.ScreenCast"
REMOTE = "org.gnome.Mutter.RemoteDesktop"
# keysyms(7): Latin-1 is itself, the named keys are above 0xff00
SHIFT = 0xFFE1
KEYSYMS = {"\n": 0xFF0D, "\t": 0xFF09}


def _call(bus: DBusConnection, name: str, path: str, interface: str, method: str, *call: Any) -> tuple[Any, ...]:
    signature, body = (call[0], call[1:]) if call else (None, ())
    message = new_method_call(DBusAddress(path, name, interface), method, signature, body)
    reply = bus.send_and_get_reply(message, timeout=10)
    if reply.header.message_type is MessageType.error:
        raise SystemExit(f"{method}: {reply.body}")
    return tuple(reply.body)


def _shot(bus: DBusConnection, width: int, height: int) -> None:
    rule = MatchRule(type="signal", interface=CAST + ".Stream", member="PipeWireStreamAdded")
    Proxy(message_bus, bus).AddMatch(rule)
    (session,) = _call(bus, CAST, "/org/gnome/Mutter/ScreenCast", CAST, "CreateSession", "a{sv}", {})
    _call(bus, CAST, session, CAST + ".Session", "RecordArea", "iiiia{sv}", 0, 0, width, height, {})
    with bus.filter(rule) as signals:
        _call(bus, CAST, session, CAST + ".Session", "Start")
        node = bus.recv_until_filtered(signals, timeout=10).body[0]
    pipeline = (
        f"pipewiresrc path={node} num-buffers=1 ! videoconvert ! "
        f"video/x-raw,format=RGB,width={width},height={height} ! fdsink fd=1"
    )
    raw = subprocess.run(["gst-launch-1.0", "-q", *pipeline.split()], stdout=subprocess.PIPE, check=True).stdout
    sys.stdout.buffer.write(b"P6\n%d %d\n255\n" % (width, height) + raw[: width * height * 3])


def _press(bus: DBusConnection, session: str, keysym: int) -> None:
    for down in (True, False):
        _call(bus, REMOTE, session, REMOTE + ".Session", "NotifyKeyboardKeysym", "ub", keysym, down)


def _type(bus: DBusConnection, text: str) -> None:
    (session,) = _call(bus, REMOTE, "/org/gnome/Mutter/RemoteDesktop", REMOTE, "CreateSession")
    _call(bus, REMOTE, session, REMOTE + ".Session", "Start")
    _press(bus, session, SHIFT)
    # a client must first see that the seat has a keyboard now
    time.sleep(0.3)
    for character in text:
        _press(bus, session, KEYSYMS.get(character, ord(character)))
    time.sleep(0.1)


def main() -> None:
    """Do what the arguments say."""
    with open_dbus_connection("SESSION") as bus:
        if sys.argv[1] == "shot":
            _shot(bus, int(sys.argv[2]), int(sys.argv[3]))
        else:
            _type(bus, sys.argv[2])


if __name__ == "__main__":
    main()
