"""A stand-in for isod that isoctl's tests talk to: apps are processes of this machine, its bus name can come and go.

Written with jeepney, so that isoctl's own marshalling is not tested against itself.
"""

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from jeepney import HeaderFields, Message, MessageType, new_error, new_method_return, new_signal
from jeepney.bus_messages import DBus
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.wrappers import DBusAddress

from isod_contract import names

APP_PROPERTIES = {"State": "s", "ExitCode": "i", "ExitSignal": "i", "Problem": "(ss)", "Running": "b"}
_WINDOW_SIZE = (("rows", 24), ("columns", 80), ("pixel-width", 0), ("pixel-height", 0))


class FakeApp:
    """One app: a local process in a session of its own."""

    def __init__(
        self, isod: "FakeIsod", app_id: str, argv: list[str], options: dict[str, tuple[str, Any]], caller: str
    ) -> None:
        self.isod = isod
        self.id = app_id
        self.argv = argv
        self.options = {key: value for key, (_, value) in options.items()}
        self.values: dict[str, Any] = {
            "State": "authorizing",
            "ExitCode": -1,
            "ExitSignal": 0,
            "Problem": ("", ""),
            "Running": True,
        }
        self.followers = {caller}
        self.master: int | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.over = threading.Event()
        self._abandoned = threading.Event()
        self._fds = {
            key: self.options[key].to_raw_fd()
            for key in ("stdin", "stdout", "stderr", "lifetime", "directory-fd")
            if key in self.options
        }
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def change(self, **values: Any) -> None:
        """Change properties and tell the followers."""
        self.values |= values
        self.isod.tell(self, values)

    def _live(self) -> None:
        try:
            self._start()
            self._watch()
        finally:
            for fd in self._fds.values():
                os.close(fd)
            self.over.set()

    def _start(self) -> None:
        if self.isod.start_sec:
            self.change(State="starting-container")
            if self._abandoned.wait(self.isod.start_sec):
                return
        if self.isod.start_error:
            self.change(State="failed", Problem=self.isod.start_error, Running=False)
            return
        streams = {name: self._fds.get(name, subprocess.DEVNULL) for name in ("stdin", "stdout", "stderr")}
        slave = None
        if "terminal" in self.options:
            # As isod, before it says `starting`, upon which the terminal is asked for.
            self.master, slave = os.openpty()
            size = [self.options.get(key, default) for key, default in _WINDOW_SIZE]
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size))
            streams = {name: self._fds.get(name, slave) for name in streams}
        self.change(State="starting")
        environment = dict(os.environ) | dict(entry.split("=", 1) for entry in self.options.get("environment", []))
        # setsid(1) needs no fork to become the leader of a session, so the pid stays.
        on_terminal: list[str] = []
        if slave is not None:
            # As isod: the one on standard input, else one that the leader of the session opens.
            opening = ["sh", "-c", 'true <"$0"; exec "$@"', os.ttyname(slave)]
            on_terminal = ["setsid", "--ctty"] if streams["stdin"] == slave else ["setsid", *opening]
        self.process = subprocess.Popen(
            [*on_terminal, *self.argv], env=environment, start_new_session=slave is None, **streams
        )
        if slave is not None:
            os.close(slave)
        # As isod, which keeps nothing of the caller's once the app has it.
        for name in ("stdin", "stdout", "stderr"):
            if name in self._fds:
                os.close(self._fds.pop(name))
        if self.isod.begins:
            self.change(State="running", Problem=self.isod.warning)

    def _watch(self) -> None:
        if self.process is None:
            return
        lifetime = self._fds.get("lifetime")
        while self.process.poll() is None:
            if lifetime is not None and select.select([lifetime], [], [], 0.01)[0]:
                self.signal(signal.SIGHUP)
                self.signal(signal.SIGTERM)
                lifetime = None
            time.sleep(0.005)
        status = self.process.returncode
        if self.isod.loses_exits:
            self.change(State="exited", Problem=("org.isoctl1.Error.ContainerGone", "exit code unknown"))
            return
        ended = {"ExitCode": max(status, -1) if status >= 0 else -1, "ExitSignal": max(-status, 0)}
        self.values |= ended
        self.isod.tell(self, ended, exited=True)
        while self._group_is_alive():
            time.sleep(0.01)
        self.change(State="exited", Running=False)

    def _group_is_alive(self) -> bool:
        assert self.process is not None
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def signal(self, number: int) -> None:
        """Send a signal to all of it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def abandon(self) -> None:
        """Never start it: the isod that was about to is gone."""
        self._abandoned.set()

    def end(self) -> None:
        """Leave nothing of it behind."""
        self.abandon()
        self.signal(signal.SIGKILL)
        self._thread.join(10)
        # Not when it exits: the caller may ask for the terminal of a program that is over by then.
        if self.master is not None:
            os.close(self.master)
            self.master = None


class FakeIsod:
    """Owns org.isoctl1 between `join` and `leave`; apps live on in between."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.apps: dict[str, FakeApp] = {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.start_sec = 0.0
        self.start_error: tuple[str, str] | None = None
        self.run_error: tuple[str, str] | None = None
        self.refused: dict[str, tuple[str, str]] = {}
        self.warning = ("", "")
        self.loses_exits = False
        self.begins = True  # whether a program takes the place of what starts it
        self.refuses_subscribers = False
        self.ignored: set[str] = set()
        self.answers: dict[str, tuple[str, tuple[Any, ...]]] = {}
        self.on_call: Callable[[str], None] = lambda _member: None
        self._connection: DBusConnection | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def join(self) -> None:
        """Come onto the bus."""
        self._stop.clear()
        connection = open_dbus_connection(self.address, enable_fds=True)
        reply = connection.send_and_get_reply(DBus().RequestName(names.BUS_NAME))
        assert reply.header.message_type is MessageType.method_return
        self._connection = connection
        self._thread = threading.Thread(target=self._serve, args=(connection,))
        self._thread.start()

    def leave(self) -> None:
        """Drop off the bus, as a killed isod does."""
        self._stop.set()
        if self._thread:
            self._thread.join(10)
        with self._lock:
            connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def end(self) -> None:
        """Leave, and end all apps."""
        self.leave()
        for app in self.apps.values():
            app.end()

    def count(self, member: str) -> int:
        return sum(1 for called, _ in self.calls if called == member)

    @property
    def only_app(self) -> FakeApp:
        """The one app; a program may have written something before its Run is answered."""
        deadline = time.monotonic() + 10
        while not self.apps and time.monotonic() < deadline:
            time.sleep(0.005)
        (app,) = self.apps.values()
        return app

    def tell(self, app: FakeApp, values: dict[str, Any], *, exited: bool = False) -> None:
        """Send an app's signals, to its followers alone."""
        with self._lock:
            if self._connection is None:
                return
            path = names.app_path(app.id)
            changed = {key: (APP_PROPERTIES[key], value) for key, value in values.items()}
            for follower in app.followers:
                signals = [_signal(path, names.PROPERTIES, "PropertiesChanged", "sa{sv}as", (names.APP, changed, []))]
                if exited:
                    signals.append(_signal(path, names.APP, "Exited", "ii", (values["ExitCode"], values["ExitSignal"])))
                for message in signals:
                    message.header.fields[HeaderFields.destination] = follower
                    with contextlib.suppress(OSError):  # a test may have killed the bus
                        self._connection.send(message)

    def _serve(self, connection: DBusConnection) -> None:
        while not self._stop.is_set():
            try:
                message = connection.receive(timeout=0.02)
            except TimeoutError:
                continue
            except OSError:  # a test has killed the bus
                return
            if message.header.message_type is MessageType.method_call:
                self._answer(connection, message)

    def _answer(self, connection: DBusConnection, call: Message) -> None:
        member = call.header.fields[HeaderFields.member]
        self.calls.append((member, call.body))
        self.on_call(member)
        if member in self.ignored:
            _close_fds(call.body)
            return
        try:
            signature, body = self._result(member, call)
            reply = new_method_return(call, signature or None, body)
        except ErrorReply as error:
            _close_fds(call.body)
            reply = new_error(call, error.name, "s", (error.text,))
        with self._lock, contextlib.suppress(OSError):  # a test may have killed the bus
            connection.send(reply)

    def _result(self, member: str, call: Message) -> tuple[str, tuple[Any, ...]]:
        sender = call.header.fields[HeaderFields.sender]
        if member in self.refused:
            raise ErrorReply(*self.refused[member])
        if member in self.answers:
            answer: Any = self.answers[member]
            return answer(*call.body) if callable(answer) else answer  # type: ignore[no-any-return]
        if member == "Run":
            return self._run(call.body, sender)
        if member == "Subscribe":
            if self.refuses_subscribers:
                raise ErrorReply("org.isoctl1.Error.LimitExceeded", "limit reached: too many subscribers")
            for app in self.apps.values():
                app.followers.add(sender)
            return "", ()
        app = self.apps.get(call.header.fields[HeaderFields.path].removeprefix(names.APP_PATH_PREFIX))
        if app is None:
            raise ErrorReply("org.isoctl1.Error.NoSuchApplication", "no such app")
        if member == "GetAll":
            return "a{sv}", ({key: (APP_PROPERTIES[key], value) for key, value in app.values.items()},)
        if member == "OpenTerminal":
            return "h", (app.master,)
        app.signal(call.body[0] if member == "Signal" else signal.SIGTERM)
        return "", ()

    def _run(self, body: tuple[Any, ...], sender: str) -> tuple[str, tuple[Any, ...]]:
        if self.run_error:
            raise ErrorReply(*self.run_error)
        _container, argv, options = body
        app_id = options["id"][1]
        if app_id in self.apps:
            _close_fds(body)
        else:
            self.apps[app_id] = FakeApp(self, app_id, argv, options, sender)
        self.apps[app_id].followers.add(sender)
        return "o", (names.app_path(app_id),)


class ErrorReply(Exception):
    """Becomes an error reply."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        super().__init__(name)


def _signal(path: str, interface: str, member: str, signature: str, body: tuple[Any, ...]) -> Message:
    return new_signal(DBusAddress(path, interface=interface), member, signature, body)


def _close_fds(body: tuple[Any, ...]) -> None:
    for part in body:
        if isinstance(part, dict):
            for signature, value in part.values():
                if signature == "h":
                    value.close()


@contextlib.contextmanager
def fake_isod(address: str) -> Iterator[FakeIsod]:
    """Run a fake isod on a bus."""
    isod = FakeIsod(address)
    isod.join()
    try:
        yield isod
    finally:
        isod.end()
