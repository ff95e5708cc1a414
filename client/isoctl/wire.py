"""A blocking connection to a message bus: EXTERNAL authentication, calls with time-outs, signals, file descriptors.

The socket is used through `_socket`, since `socket` imports selectors and enum, which cost more than the whole
exchange with the bus.
"""

import _socket
import os
import select
import struct
import time

from isoctl.contract_generated import BUS_NAME
from isoctl.marshal import MarshalError, Reader, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DBUS = "org.freedesktop.DBus"
DBUS_PATH = "/org/freedesktop/DBus"
GONE_ERRORS = frozenset(
    DBUS + ".Error." + name for name in ("NoReply", "Disconnected", "NameHasNoOwner", "ServiceUnknown")
)
ABSENT = DBUS + ".Error.ServiceUnknown"
NOT_RUNNING = "isod is not running; start it with `systemctl start isod`"
_ACCESS_DENIED = DBUS + ".Error.AccessDenied"
_NOT_ADMITTED = "the system bus does not let you call isod; ask the administrator, whose policy of it names who may"
CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
_FLAG_NO_REPLY = 1
_FLAG_INTERACTIVE = 4
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_FDS_MAX = 16
_SEND_TIMEOUT_SEC = 30.0
DEFAULT_TIMEOUT_SEC = 20.0


class WireError(Exception):
    """The bus cannot be reached, refused us, or went away; the text is one line."""


class NoBus(WireError):
    """Nothing listens at the bus's address."""


class BusGone(WireError):
    """The bus left while it was in use: it is being restarted, or it ended the connection."""


class CallTimeout(WireError):
    """No reply in time."""


class RemoteError(Exception):
    """An error reply: its D-Bus name and its text."""

    def __init__(self, name: str, text: str) -> None:
        """Keep both."""
        self.name = name
        self.text = text
        super().__init__(f"{name}: {text}")


class Message:
    """One received message; file descriptors not taken by `take_fd` are closed with it."""

    __slots__ = ("body", "fds", "fields", "kind", "serial")

    def __init__(self, kind: int, serial: int, fields: "dict[int, Any]", body: "list[Any]", fds: list[int]) -> None:
        """Keep what the connection parsed; `fields` by the specification's numbers."""
        self.kind = kind
        self.serial = serial
        self.fields = fields
        self.body = body
        self.fds = fds

    @property
    def path(self) -> str:
        """Object path of a signal; empty if none."""
        return str(self.fields.get(1, ""))

    @property
    def member(self) -> str:
        """Interface and member, joined by a dot."""
        return f"{self.fields.get(2, '')}.{self.fields.get(3, '')}"

    @property
    def reply_serial(self) -> int:
        """The serial of the call that this answers; 0 for none."""
        return int(self.fields.get(5, 0))

    def take_fd(self, index: int) -> int:
        """Hand over one file descriptor; the caller closes it."""
        if not 0 <= index < len(self.fds) or self.fds[index] < 0:
            message = "a reply lacks the file descriptor that it speaks of"
            raise WireError(message)
        fd, self.fds[index] = self.fds[index], -1
        return fd

    def close(self) -> None:
        """Close what nobody took."""
        for fd in self.fds:
            if fd >= 0:
                os.close(fd)
        self.fds = []

    def raise_error(self) -> None:
        """Raise RemoteError if this is an error reply."""
        if self.kind == ERROR:
            text = self.body[0] if self.body and isinstance(self.body[0], str) else "no text"
            name = str(self.fields.get(4, ""))
            if name == _ACCESS_DENIED and self.fields.get(7) == DBUS:
                # The brokers' own words are no sentence, or say nothing of isod.
                text = _NOT_ADMITTED
            raise RemoteError(name, text)


def system_bus_address() -> str:
    """Give the system bus' address (D-Bus specification, "System message bus")."""
    return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or "unix:path=/run/dbus/system_bus_socket"


def _socket_names(address: str) -> list[str]:
    """Give the Unix sockets of a D-Bus address, in order; abstract ones begin with NUL."""
    names = []
    for part in address.split(";"):
        transport, _, pairs = part.partition(":")
        values = dict(pair.split("=", 1) for pair in pairs.split(",") if "=" in pair)
        if transport == "unix" and "path" in values:
            names.append(_unescape(values["path"]))
        elif transport == "unix" and "abstract" in values:
            names.append("\0" + _unescape(values["abstract"]))
    return names


def _unescape(value: str) -> str:
    """Undo the percent escapes of an address value."""
    first, *rest = value.split("%")
    raw = first.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)
    return os.fsdecode(raw)


# Of accounts that exist only while a unit runs; dbus-daemon can't look them up (systemd.exec(5), DynamicUser=).
_DYNAMIC_UIDS = range(61184, 65520)


class Bus:
    """A connection to one message bus.

    Signals that arrive while a call waits are kept in `signals`, in order.
    """

    def __init__(self, address: str, timeout_sec: float = 5.0) -> None:
        """Connect, authenticate and say Hello in one exchange. Raises WireError, NoBus."""
        self._address = address
        self._open(timeout_sec)

    def _open(self, timeout_sec: float) -> None:
        """Begin a connection, with nothing left of one before."""
        self.signals: list[Message] = []
        self._replies: dict[int, Message] = {}
        self._expected: set[int] = set()
        self._serial = 0
        self._buffer = bytearray()
        self._received_fds: list[int] = []
        self._socket = _connect(self._address, timeout_sec)
        try:
            hello = self._authenticate(timeout_sec)
        except (OSError, MarshalError) as error:
            self._socket.close()
            message = f"no access to the message bus: {error}"
            raise WireError(message) from error
        try:
            self.unique_name = str(self.wait_reply(hello, timeout_sec).body[0])
        except RemoteError:
            self._socket.close()
            raise
        except WireError as error:
            self._socket.close()
            if os.geteuid() in _DYNAMIC_UIDS:
                uid = os.geteuid()
                message = f"the message bus takes no uid {uid}, of DynamicUser=yes; give the unit a User= that exists"
                raise WireError(message) from error
            raise

    def renew(self, timeout_sec: float = 5.0) -> None:
        """Connect again, after the bus was restarted; calls, matches and the unique name are new. Raises WireError."""
        self.close()
        try:
            self._open(timeout_sec)
        except RemoteError as error:
            raise WireError(error.text) from error

    def fileno(self) -> int:
        """Give the socket, for poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Leave the bus."""
        for message in self._replies.values():
            message.close()
        for fd in self._received_fds:
            os.close(fd)
        self._replies, self._received_fds = {}, []
        self._socket.close()

    def _authenticate(self, timeout_sec: float) -> int:
        """Send authentication and Hello at once, read the two answers to the first; gives the serial of Hello.

        Descriptors must not travel before AGREE_UNIX_FD: the broker reads this phase without room for them.
        """
        self._socket.settimeout(timeout_sec)
        uid = str(os.geteuid()).encode().hex().encode()
        raw, _, serial = self._build(DBUS, DBUS_PATH, DBUS, "Hello", "", ())
        self._socket.sendall(b"\0AUTH EXTERNAL " + uid + b"\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n" + raw)
        self._expected.add(serial)
        lines = bytearray()
        while lines.count(b"\r\n") < 2:
            piece = self._socket.recv(4096)
            if not piece or len(lines) > 4096 or lines.startswith(b"REJECTED"):
                message = "it refused the authentication"
                raise OSError(message)
            lines += piece
        accepted, agreed, rest = lines.split(b"\r\n", 2)
        if not accepted.startswith(b"OK ") or agreed != b"AGREE_UNIX_FD":
            message = "it refused the authentication or passes no file descriptors"
            raise OSError(message)
        self._buffer += rest
        self._sort()  # the answer to Hello may have come along already
        self._socket.settimeout(_SEND_TIMEOUT_SEC)
        return serial

    def _build(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: "tuple[Any, ...]",
        flags: int = _FLAG_INTERACTIVE,
    ) -> tuple[bytes, list[int], int]:
        """Marshal a method call; gives bytes, file descriptors and serial."""
        self._serial += 1
        fds: list[int] = []
        raw_body = encode(signature, body, fds)
        fields: list[tuple[int, tuple[str, object]]] = [
            (1, ("o", path)),
            (2, ("s", interface)),
            (3, ("s", member)),
            (6, ("s", destination)),
        ]
        if signature:
            fields.append((8, ("g", signature)))
        if fds:
            fields.append((9, ("u", len(fds))))
        header = encode("yyyyuua(yv)", (ord("l"), CALL, flags, 1, len(raw_body), self._serial, fields), [])
        return header + bytes(-len(header) % 8) + raw_body, fds, self._serial

    def send(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: "tuple[Any, ...]" = (),
        *,
        reply: bool = True,
    ) -> int:
        """Send a call that may ask polkit's agent; gives the serial for `wait_reply`. Raises WireError."""
        flags = _FLAG_INTERACTIVE if reply else _FLAG_INTERACTIVE | _FLAG_NO_REPLY
        raw, fds, serial = self._build(destination, path, interface, member, signature, body, flags)
        try:
            if fds:
                rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))
                sent = self._socket.sendmsg([raw], [rights])
                raw = raw[sent:]
            self._socket.sendall(raw)
        except OSError as error:
            message = f"the message bus went away: {error.strerror or error}"
            raise BusGone(message) from error
        if reply:
            self._expected.add(serial)
        return serial

    def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: "tuple[Any, ...]" = (),
        *,
        destination: str = BUS_NAME,
        timeout_sec: float = DEFAULT_TIMEOUT_SEC,
    ) -> Message:
        """Call isod (or another peer) and wait for the reply. Raises RemoteError, CallTimeout, WireError."""
        return self.wait_reply(self.send(destination, path, interface, member, signature, body), timeout_sec)

    def wait_reply(self, serial: int, timeout_sec: float) -> Message:
        """Wait for the reply to a call. Raises RemoteError, CallTimeout, WireError."""
        deadline = time.monotonic() + timeout_sec
        while (message := self._replies.pop(serial, None)) is None:
            if not self.wait_readable(deadline - time.monotonic()):
                self._expected.discard(serial)
                text = f"no answer within {timeout_sec:.0f} s"
                raise CallTimeout(text)
            self.receive()
        message.raise_error()
        return message

    def expect(self, serial: int) -> None:
        """Wait for the reply to a call once more, after CallTimeout."""
        self._expected.add(serial)

    def take_reply(self, serial: int) -> Message | None:
        """Give the reply to a call if it is here; an error reply too."""
        return self._replies.pop(serial, None)

    def wait_readable(self, timeout_sec: float) -> bool:
        """Wait until something arrives; false if nothing did."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_sec) * 1000))

    def receive(self) -> None:
        """Read once, without waiting, and sort what is complete into replies and signals. Raises WireError."""
        if not self.wait_readable(0):
            return  # with a time-out on the socket even MSG_DONTWAIT would wait for that long
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(
                65536, _socket.CMSG_SPACE(4 * _FDS_MAX), _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError as error:
            message = f"the message bus went away: {error.strerror}"
            raise BusGone(message) from error
        for level, kind, raw in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self._received_fds += struct.unpack(f"{len(raw) // 4}i", raw[: len(raw) // 4 * 4])
        if not data or flags & _socket.MSG_CTRUNC:
            message = "the message bus closed the connection"
            raise BusGone(message)
        self._buffer += data
        self._sort()

    def _sort(self) -> None:
        """Take all complete messages out of the buffer."""
        while (message := self._next_message()) is not None:
            if message.kind == SIGNAL:
                self.signals.append(message)
            elif message.kind in (RETURN, ERROR) and message.reply_serial in self._expected:
                self._expected.discard(message.reply_serial)
                self._replies[message.reply_serial] = message
            else:
                message.close()

    def _next_message(self) -> Message | None:
        """Parse one message if it is complete. Raises WireError if it is not D-Bus."""
        if len(self._buffer) < 16:
            return None
        little = self._buffer[0] == ord("l")
        body_length, serial, fields_length = struct.unpack_from("<III" if little else ">III", self._buffer, 4)
        header_length = 16 + fields_length + -fields_length % 8
        if header_length + body_length > _MESSAGE_BYTES_MAX:
            message = "the message bus sent a message that is too large"
            raise WireError(message)
        if len(self._buffer) < header_length + body_length:
            return None
        raw = bytes(self._buffer[: header_length + body_length])
        del self._buffer[: header_length + body_length]
        try:
            pairs = Reader(raw[:header_length], little=little, position=12).take("a(yv)", 0)
            fields = {code: value[1] for code, value in pairs}
            body = decode(fields.get(8, ""), raw[header_length:], little=little)
        except MarshalError as error:
            message = f"the message bus sent what is not D-Bus: {error}"
            raise WireError(message) from error
        count = int(fields.get(9, 0))
        fds, self._received_fds = self._received_fds[:count], self._received_fds[count:]
        return Message(raw[1], serial, fields, body, fds)


def _connect(address: str, timeout_sec: float) -> _socket.socket:
    """Connect to the first socket of an address that answers. Raises WireError."""
    reason = "its address has no Unix socket"
    for name in _socket_names(address):
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        connection.settimeout(timeout_sec)
        try:
            connection.connect(name)
        except OSError as error:
            connection.close()
            reason = error.strerror or str(error)
        else:
            return connection
    message = f"no message bus at {address!r}: {reason}"
    raise NoBus(message)
