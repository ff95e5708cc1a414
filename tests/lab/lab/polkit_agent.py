"""A polkit authentication agent for a session, told by a test what the user does; runs on the lab host.

Each line of standard input is what the user does with the oldest open question: `dismiss`, or `answer PASSWORD`.
Each line of standard output tells an event: `ready`, `asked ACTION`, `cancelled ACTION`, `settled ACTION`.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from typing import Any

from jeepney import DBusAddress, HeaderFields, Message, MessageType, new_error, new_method_call, new_method_return
from jeepney.io.blocking import open_dbus_connection

AUTHORITY = DBusAddress(
    "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1", "org.freedesktop.PolicyKit1.Authority"
)
OBJECT_PATH = "/org/isoctl1/lab/Agent"
# The only program that polkitd believes: it is set-uid root and asks PAM.
HELPER = "/usr/lib/polkit-1/polkit-agent-helper-1"


def tell(event: str, *words: str) -> None:
    print(event, *words, flush=True)


class Agent:
    """Holds the questions of polkitd that are not answered yet."""

    def __init__(self) -> None:
        self.bus = open_dbus_connection("SYSTEM")
        self.asked: list[Message] = []

    def register(self, session: str) -> None:
        """Be the agent of a session of logind."""
        body = (("unix-session", {"session-id": ("s", session)}), "C.UTF-8", OBJECT_PATH)
        call = new_method_call(AUTHORITY, "RegisterAuthenticationAgent", "(sa{sv})ss", body)
        reply = self.bus.send_and_get_reply(call)
        if reply.header.message_type is MessageType.error:
            raise SystemExit(f"not registered: {reply.body}")
        tell("ready")

    def receive(self) -> None:
        """Take a call of polkitd."""
        message = self.bus.receive()
        if message.header.message_type is not MessageType.method_call:
            return
        if message.header.fields[HeaderFields.member] == "BeginAuthentication":
            self.asked.append(message)
            tell("asked", message.body[0])
        elif message.header.fields[HeaderFields.member] == "CancelAuthentication":
            self.bus.send(new_method_return(message))
            for call in [call for call in self.asked if call.body[4] == message.body[0]]:
                self.settle(call, "cancelled", new_error(call, "org.freedesktop.PolicyKit1.Error.Cancelled"))

    def act(self, line: str) -> None:
        """Do what the user does."""
        call = self.asked[0]
        what, _, password = line.partition(" ")
        if what == "dismiss":
            self.settle(call, "settled", new_error(call, "org.freedesktop.PolicyKit1.Error.Cancelled"))
        else:
            authenticate(call.body[4], call.body[5], password)
            self.settle(call, "settled", new_method_return(call))

    def settle(self, call: Message, event: str, reply: Message) -> None:
        """Answer polkitd."""
        self.asked.remove(call)
        self.bus.send(reply)
        tell(event, call.body[0])


def authenticate(cookie: str, identities: list[Any], password: str) -> None:
    """Have the helper ask PAM about the first identity that is offered."""
    import pwd

    user = next(pwd.getpwuid(details["uid"][1]).pw_name for kind, details in identities if kind == "unix-user")
    subprocess.run([HELPER, user], input=f"{cookie}\n{password}\n", text=True, stdout=subprocess.DEVNULL, check=False)


def main() -> None:
    agent = Agent()
    agent.register(os.environ["XDG_SESSION_ID"])
    with selectors.DefaultSelector() as ready:
        ready.register(agent.bus.sock, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is agent.bus.sock:
                    agent.receive()
                elif line := sys.stdin.readline():
                    agent.act(line.strip())
                else:
                    return


if __name__ == "__main__":
    main()
