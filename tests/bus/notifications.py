"""A stand-in for the desktop's notification service (org.freedesktop.Notifications), with all that was ever shown."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jeepney import HeaderFields, MessageType, new_method_return
from jeepney.bus_messages import DBus
from jeepney.io.blocking import open_dbus_connection

SERVICE = "org.freedesktop.Notifications"


@dataclass
class Notifications:
    """`visible` is what a user sees at the end, `shown` each time that something popped up or changed."""

    visible: dict[int, tuple[str, str]] = field(default_factory=dict)
    shown: list[tuple[str, str]] = field(default_factory=list)
    answers: bool = True
    reply: tuple[str, Any] | None = None

    def handle(self, member: str, body: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        if member == "CloseNotification":
            self.visible.pop(body[0], None)
            return "", ()
        _, replaced, _, summary, text, *_ = body
        number = replaced if replaced in self.visible else len(self.shown) + 1
        self.visible[number] = (summary, text)
        self.shown.append((summary, text))
        return ("u", (number,)) if self.reply is None else (self.reply[0], (self.reply[1],))


@contextlib.contextmanager
def notifications(address: str) -> Iterator[Notifications]:
    """Run it on a session bus."""
    connection = open_dbus_connection(address)
    connection.send_and_get_reply(DBus().RequestName(SERVICE))
    made, stop = Notifications(), threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                message = connection.receive(timeout=0.02)
            except TimeoutError:
                continue
            if message.header.message_type is MessageType.method_call and made.answers:
                signature, body = made.handle(message.header.fields[HeaderFields.member], message.body)
                connection.send(new_method_return(message, signature or None, body))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join(10)
        connection.close()
