"""Private message buses for tests: a dbus-daemon and a dbus-broker that let everybody do everything."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from isod_wire import Connection, Variant
from isod_wire.encode import encode_body
from isod_wire.header import Route, encode_header, read_fields, read_fixed_header
from isod_wire.message import MessageKind

_OPEN_POLICY = """\
<policy context="default">
  <allow user="*"/>
  <allow own="*"/>
  <allow send_destination="*" eavesdrop="true"/>
  <allow receive_sender="*" eavesdrop="true"/>
</policy>
"""
_CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <auth>EXTERNAL</auth>
  <listen>unix:path={path}</listen>
  {policy}
</busconfig>
"""
_BATCH = "bta(btbs)a(btssssuutt)a(btssssuutt)"
_BROKER_POLICY = f"(a(u({_BATCH}))a(buu({_BATCH}))a(ss)bs)"
_ANY_UID = 0xFFFF_FFFF
_ANY_COUNT = 0xFFFF_FFFF_FFFF_FFFF

Connect = Callable[..., Awaitable[Connection]]
"""Gives our transport's connection to a bus of the test."""


@dataclass(frozen=True)
class Bus:
    """A running bus: `kind` is dbus-daemon or dbus-broker."""

    kind: str
    path: str
    pid: int

    @property
    def address(self) -> str:
        """The D-Bus address."""
        return f"unix:path={self.path}"

    def socket_as(self, uid: int | None = None) -> socket.socket:
        """Return a connected, not yet authenticated socket, for the broker that of `uid` (needs root)."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if uid is not None:
            os.seteuid(uid)
        try:
            sock.connect(self.path)
        finally:
            if uid is not None:
                os.seteuid(0)
        return sock


@contextlib.contextmanager
def dbus_daemon(policy: str = _OPEN_POLICY, place: Path | None = None) -> Iterator[Bus]:
    """Run a dbus-daemon; `policy` is the XML of its <policy> elements, `place` a directory for one of many in turn."""
    with contextlib.nullcontext(place) if place else _directory() as directory:
        path = directory / "bus"
        path.unlink(missing_ok=True)
        config = directory / "bus.conf"
        config.write_text(_CONFIG.format(path=path, policy=policy))
        command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1"]
        with _process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            assert process.stdout.readline(), "dbus-daemon did not start"
            yield Bus("dbus-daemon", str(path), process.pid)


@contextlib.contextmanager
def dbus_broker() -> Iterator[Bus]:
    """Run a dbus-broker.

    Its own launcher needs systemd and journald, so this is the launcher: it speaks D-Bus to the broker over a socket
    pair and hands it the listening socket and a policy.
    """
    with _directory() as directory, contextlib.ExitStack() as stack:
        path = str(directory / "bus")
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(path)
        Path(path).chmod(0o666)
        listener.listen(128)
        listener.setblocking(False)  # the broker takes it as it is, and would block in accept
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        command = ["dbus-broker", "--controller", str(theirs.fileno()), "--machine-id", "0123456789abcdef" * 2]
        with theirs:
            process = stack.enter_context(_process(command, pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL))
        _add_listener(ours, listener)
        yield Bus("dbus-broker", path, process.pid)


def _add_listener(controller: socket.socket, listener: socket.socket) -> None:
    """Give the broker its socket and a policy that allows all."""
    controller.settimeout(5)
    controller.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n")
    lines = b""
    while not lines.endswith(b"AGREE_UNIX_FD\r\n"):
        lines += controller.recv(4096)
    transmission = (True, 1, "", "", "", "", 0, 0, 0, _ANY_COUNT)
    batch = (True, 1, [(True, 1, True, "")], [transmission], [transmission])
    policy = Variant.__new__(Variant)  # its constructor takes no tuples
    policy.signature, policy.value = _BROKER_POLICY, ([(_ANY_UID, batch)], [], [], False, "")
    body = encode_body("ohv", ["/org/bus1/DBus/Listener/0", 0, policy])
    route = Route(
        kind=MessageKind.METHOD_CALL,
        path="/org/bus1/DBus/Broker",
        interface="org.bus1.DBus.Broker",
        member="AddListener",
    )
    header = encode_header(route, 1, "ohv", len(body), 1)
    socket.send_fds(controller, [header + body], [listener.fileno()])
    reply = controller.recv(4096)
    fields = read_fields(reply, read_fixed_header(reply))
    assert reply[1] == MessageKind.METHOD_RETURN, f"dbus-broker refused the listener: {fields}"


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """Yield a directory that other users can enter, which pytest's own are not."""
    directory = Path(tempfile.mkdtemp(prefix="isod-bus-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def _process(command: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if process.stdout:
            process.stdout.close()
