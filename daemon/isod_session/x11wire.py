"""The part of the X11 protocol that it takes to manage the windows of one X server (X11R7, x11protocol.txt).

Blocking and little-endian: the server is a child of ours on the same machine.
"""

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

_SETUP_BYTES_MAX = 1 << 20
_EVENT_BYTES = 32

# Core requests.
_CREATE_WINDOW, _CHANGE_ATTRIBUTES, _MAP_WINDOW, _CONFIGURE_WINDOW = 1, 2, 8, 12
_INTERN_ATOM, _CHANGE_PROPERTY, _GET_PROPERTY, _SEND_EVENT, _GRAB_BUTTON = 16, 18, 20, 25, 28
_SET_SELECTION_OWNER, _CONVERT_SELECTION = 22, 24
_ALLOW_EVENTS, _SET_INPUT_FOCUS, _QUERY_EXTENSION = 35, 42, 98
# Events.
BUTTON_PRESS, DESTROY_NOTIFY, UNMAP_NOTIFY, MAP_REQUEST = 4, 17, 18, 20
CONFIGURE_NOTIFY, CONFIGURE_REQUEST = 22, 23
SELECTION_REQUEST, SELECTION_NOTIFY = 30, 31
_STRUCTURE_NOTIFY, _SUBSTRUCTURE_NOTIFY, _SUBSTRUCTURE_REDIRECT = 0x20000, 0x80000, 0x100000
_CW_X, _CW_Y, _CW_WIDTH, _CW_HEIGHT, _CW_BORDER, _CW_STACK = 1, 2, 4, 8, 16, 64

ATOM, CARDINAL, WINDOW, WM_TRANSIENT_FOR = 4, 6, 33, 68


class Geometry(NamedTuple):
    """Where a window is, in pixels."""

    x: int
    y: int
    width: int
    height: int


class Event(NamedTuple):
    """One event as it came: 32 bytes, of which the first says which it is."""

    code: int
    data: bytes

    def window(self, offset: int) -> int:
        """Give the window id at an offset."""
        return int(struct.unpack_from("<I", self.data, offset)[0])


class XConnection:
    """One client of an X server."""

    def __init__(self, path: str) -> None:
        """Connect to a server's socket. Raises OSError, ConnectionError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.connect(path)
        self._buffer = b""
        self._sequence = 0
        self._events: list[Event] = []
        self._atoms: dict[str, int] = {}
        self._socket.sendall(struct.pack("<BxHHHHxx", ord("l"), 11, 0, 0, 0))
        status, extra = struct.unpack("<B5xH", self._receive(8))
        setup = self._receive(extra * 4)
        if status != 1:
            raise ConnectionError("the X server refuses its window manager")
        self._next_id = int(struct.unpack_from("<I", setup, 4)[0])
        vendor_size, formats = struct.unpack_from("<H", setup, 16)[0], setup[21]
        screen = 32 + (vendor_size + 3 & ~3) + formats * 8
        (self.root,) = struct.unpack_from("<I", setup, screen)
        self.size: tuple[int, int] = struct.unpack_from("<HH", setup, screen + 20)

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._socket.fileno()

    def become_window_manager(self) -> None:
        """Have all top-level windows' requests come to us."""
        mask = _STRUCTURE_NOTIFY | _SUBSTRUCTURE_NOTIFY | _SUBSTRUCTURE_REDIRECT
        self._send(_CHANGE_ATTRIBUTES, 0, struct.pack("<III", self.root, 0x800, mask))

    def create_window(self) -> int:
        """Make a window that is never shown."""
        self._next_id += 1
        self._send(_CREATE_WINDOW, 0, struct.pack("<IIhhHHHHII", self._next_id, self.root, -1, -1, 1, 1, 0, 1, 0, 0))
        return self._next_id

    def map(self, window: int) -> None:
        """Show a window."""
        self._send(_MAP_WINDOW, 0, struct.pack("<I", window))

    def place(self, window: int, to: Geometry) -> None:
        """Put a window somewhere, without a border."""
        mask = _CW_X | _CW_Y | _CW_WIDTH | _CW_HEIGHT | _CW_BORDER
        values = struct.pack("<iiIII", to.x, to.y, to.width, to.height, 0)
        self._send(_CONFIGURE_WINDOW, 0, struct.pack("<IHxx", window, mask) + values)
        # ICCCM 4.1.5: a client that asked must be told, also if it was refused.
        event = struct.pack("<BxHIIIhhHHHBx", CONFIGURE_NOTIFY, 0, window, window, 0, *to, 0, 0).ljust(
            _EVENT_BYTES, b"\0"
        )
        self._send(_SEND_EVENT, 0, struct.pack("<II", window, _STRUCTURE_NOTIFY) + event)

    def raise_(self, window: int) -> None:
        """Put a window above the others."""
        self._send(_CONFIGURE_WINDOW, 0, struct.pack("<IHxxI", window, _CW_STACK, 0))

    def focus(self, window: int) -> None:
        """Give a window the keyboard."""
        self._send(_SET_INPUT_FOCUS, 1, struct.pack("<II", window, 0))

    def watch_clicks(self, window: int) -> None:
        """Have clicks into a window come to us first; `pass_click_on` gives them to it."""
        # button press mask; pointer synchronous, keyboard asynchronous; any button, any modifier
        self._send(_GRAB_BUTTON, 0, struct.pack("<IHBBIIBxH", window, 0x4, 0, 1, 0, 0, 0, 0x8000))

    def pass_click_on(self) -> None:
        """Let the window have the click that we were told of."""
        self._send(_ALLOW_EVENTS, 2, struct.pack("<I", 0))

    def set_property(self, window: int, name: int, kind: int, values: tuple[int, ...]) -> None:
        """Set a property of 32-bit values."""
        body = struct.pack("<IIIBxxxI", window, name, kind, 32, len(values))
        self._send(_CHANGE_PROPERTY, 0, body + struct.pack(f"<{len(values)}I", *values))

    def set_bytes(self, window: int, name: int, kind: int, data: bytes) -> None:
        """Set a property of bytes."""
        body = struct.pack("<IIIBxxxI", window, name, kind, 8, len(data))
        self._send(_CHANGE_PROPERTY, 0, body + data + b"\0" * (-len(data) % 4))

    def take_property(self, window: int, name: int, most: int) -> tuple[bytes, int, bool]:
        """Read a property of bytes and remove it; gives its bytes, its type, and whether that is all of it."""
        self._send(_GET_PROPERTY, 1, struct.pack("<IIIII", window, name, 0, 0, most // 4))
        reply = self._reply()
        if not reply:
            return b"", 0, True
        kind, left, count = struct.unpack_from("<III", reply, 8)
        return reply[32 : 32 + count] if reply[1] == 8 else b"", int(kind), left == 0

    def own_selection(self, window: int, selection: int) -> None:
        """Become the owner of a selection; who pastes asks us by SELECTION_REQUEST."""
        self._send(_SET_SELECTION_OWNER, 0, struct.pack("<III", window, selection, 0))

    def convert_selection(self, window: int, selection: int, target: int, name: int) -> None:
        """Ask the owner of a selection for it, as a property of our window; SELECTION_NOTIFY tells."""
        self._send(_CONVERT_SELECTION, 0, struct.pack("<IIIII", window, selection, target, name, 0))

    def notify_selection(self, time: bytes, requestor: int, selection: int, target: int, name: int) -> None:
        """Tell who asked us where it is; 0: nowhere."""
        event = struct.pack("<Bxxx4sIIII", SELECTION_NOTIFY, time, requestor, selection, target, name)
        self._send(_SEND_EVENT, 0, struct.pack("<II", requestor, 0) + event.ljust(_EVENT_BYTES, b"\0"))

    def get_number(self, window: int, name: int) -> int:
        """Read the first 32-bit value of a property; 0 where there is none."""
        self._send(_GET_PROPERTY, 0, struct.pack("<IIIII", window, name, 0, 0, 1))
        reply = self._reply()
        return int(struct.unpack_from("<I", reply, 32)[0]) if reply and reply[1] == 32 and len(reply) >= 36 else 0

    def atom(self, name: str) -> int:
        """Give the number of a name."""
        if name not in self._atoms:
            data = name.encode()
            self._send(_INTERN_ATOM, 0, struct.pack("<Hxx", len(data)) + data + b"\0" * (-len(data) % 4))
            self._atoms[name] = struct.unpack_from("<I", self._reply(), 8)[0]
        return self._atoms[name]

    def client_count(self) -> int:
        """Count the server's clients, us among them (X-Resource); a large number where it can't tell."""
        name = b"X-Resource"
        self._send(_QUERY_EXTENSION, 0, struct.pack("<Hxx", len(name)) + name + b"\0" * (-len(name) % 4))
        reply = self._reply()
        if not reply or not reply[8]:
            return 1 << 16
        self._send(reply[9], 1, b"")
        reply = self._reply()
        if not reply:
            return 1 << 16
        # One of resource base 0 is the server itself.
        bases = struct.unpack_from(f"<{2 * struct.unpack_from('<I', reply, 8)[0]}I", reply, 32)[::2]
        return sum(base != 0 for base in bases)

    def events(self) -> Iterator[Event]:
        """Give what has come; waits for at least one. Raises ConnectionError when the server has ended."""
        while not self._events:
            self._read_one()
        while self._events:
            yield self._events.pop(0)

    def has_events(self) -> bool:
        """Whether some were read already, while a reply was waited for."""
        return bool(self._events) or len(self._buffer) >= _EVENT_BYTES

    def _read_one(self) -> bytes | None:
        """Read one event, error or reply; gives a reply, b"" for an error."""
        data = self._receive(_EVENT_BYTES)
        if data[0] == 1:
            return data + self._receive(struct.unpack_from("<I", data, 4)[0] * 4)
        if data[0] == 0:
            return b""  # nearly always of a window that is gone by now
        self._events.append(Event(data[0] & 0x7F, data))
        return None

    def _reply(self) -> bytes:
        # Errors of requests before ours come before its reply; one more error than those is ours.
        self._send(43, 0, b"")  # GetInputFocus, whose reply says that all before is answered
        first: bytes | None = None
        while True:
            data = self._read_one()
            if data:
                if struct.unpack_from("<H", data, 2)[0] == self._sequence & 0xFFFF:
                    return first or b""
                first = data

    def _send(self, opcode: int, detail: int, body: bytes) -> None:
        self._sequence += 1
        self._socket.sendall(struct.pack("<BBH", opcode, detail, 1 + len(body) // 4) + body)

    def _receive(self, size: int) -> bytes:
        if size > _SETUP_BYTES_MAX:
            raise ConnectionError("the X server sent too much")
        while len(self._buffer) < size:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the X server has ended")
            self._buffer += data
        result, self._buffer = self._buffer[:size], self._buffer[size:]
        return result
