"""The clipboard of one container's X server, taken out or filled when the user asks: text, of bounded size.

`isoctl clipboard` asks on a socket in the user's runtime directory, which isod-session made: a line `copy`, or a line
`paste` and the text; the answer is a line `ok` and the text, or a line that says what is wrong. The window manager is
the X client that does it (ICCCM 2, "Peer-to-Peer Communication by Means of Selections").
"""

import socket
import struct
import time

from isod_contract.limits import CLIPBOARD_BYTES_MAX, CLIPBOARD_TIMEOUT_SEC
from isod_session.x11wire import ATOM, SELECTION_NOTIFY, SELECTION_REQUEST, Event, XConnection

_PEER_TIMEOUT_SEC = 2.0  # isoctl writes at once, and windows wait meanwhile
_UTF8_NAMES = ("UTF8_STRING", "text/plain;charset=utf-8", "TEXT")
_STRING = 31  # a predefined atom: Latin-1
_NOTHING = "no text was copied in an X program of this container"
_TOO_LARGE = f"the text is larger than {CLIPBOARD_BYTES_MAX} bytes"


class Clipboard:
    """Owner and reader of the selection CLIPBOARD; nothing is moved unless asked for."""

    def __init__(self, x: XConnection, listener: socket.socket) -> None:
        """Take the connection that events come by, and the socket that isoctl asks on."""
        self._x = x
        self._listener = listener
        self._window = x.create_window()
        self._selection, self._property = x.atom("CLIPBOARD"), x.atom("ISOCTL_CLIPBOARD")
        self._targets = {x.atom(name): "utf-8" for name in _UTF8_NAMES} | {_STRING: "latin-1"}
        self._text = ""
        self._asking: socket.socket | None = None
        self._deadline_sec = 0.0

    @property
    def is_asking(self) -> bool:
        """Whether an X client has yet to answer."""
        return self._asking is not None

    def fileno(self) -> int:
        """Give the descriptor that is readable when isoctl asks."""
        return self._listener.fileno()

    def accept(self) -> None:
        """Take what isoctl asks for."""
        peer, _ = self._listener.accept()
        peer.settimeout(_PEER_TIMEOUT_SEC)
        try:
            verb, _, text = _read(peer).partition(b"\n")
            if verb == b"paste":
                self._own(text.decode())
                _answer(peer, "ok\n")
            elif self.is_asking:
                _answer(peer, "it is being copied already\n")
            else:
                self._x.convert_selection(self._window, self._selection, self._x.atom("UTF8_STRING"), self._property)
                self._asking, self._deadline_sec = peer, time.monotonic() + CLIPBOARD_TIMEOUT_SEC
        except (OSError, ValueError) as error:
            _answer(peer, f"{error}\n")

    def handle(self, event: Event) -> bool:
        """Deal with an event of selections; false for any other."""
        if event.code == SELECTION_REQUEST:
            self._give(event)
        elif event.code == SELECTION_NOTIFY:
            if event.window(8) == self._window:
                self._take(event.window(20))
        else:
            return False
        return True

    def give_up(self) -> None:
        """Answer for a client that has not, after a while."""
        if self.is_asking and time.monotonic() > self._deadline_sec:
            self._tell(f"the X program that holds the text gave none within {CLIPBOARD_TIMEOUT_SEC:.0f} s\n")

    def close(self) -> None:
        """End."""
        self._tell("the X server ends\n")
        self._listener.close()

    def _own(self, text: str) -> None:
        self._text = text
        self._x.own_selection(self._window, self._selection)

    def _give(self, event: Event) -> None:
        """Answer a client that pastes, as far as it wants text."""
        requestor, selection, target, name = struct.unpack_from("<IIII", event.data, 12)
        name = name or target  # ICCCM 2.2: of obsolete clients
        if target == self._x.atom("TARGETS"):
            self._x.set_property(requestor, name, ATOM, (target, *self._targets))
        elif encoding := self._targets.get(target):
            # TEXT is any encoding, which is to be named.
            kind = target if target == _STRING else self._x.atom("UTF8_STRING")
            self._x.set_bytes(requestor, name, kind, self._text.encode(encoding, "replace"))
        else:
            name = 0
        self._x.notify_selection(event.data[4:8], requestor, selection, target, name)

    def _take(self, name: int) -> None:
        """Read what a client gave, which may be anything."""
        if not name:
            self._tell(f"{_NOTHING}\n")
            return
        untrusted_bytes, kind, is_whole = self._x.take_property(self._window, self._property, CLIPBOARD_BYTES_MAX)
        if not is_whole or kind == self._x.atom("INCR"):
            self._tell(f"{_TOO_LARGE}\n")
            return
        try:
            text = untrusted_bytes.decode()
        except UnicodeDecodeError:
            self._tell("what was copied is no text in UTF-8\n")
            return
        self._tell(f"ok\n{text}" if text else f"{_NOTHING}\n")

    def _tell(self, answer: str) -> None:
        peer, self._asking = self._asking, None
        if peer is not None:
            _answer(peer, answer)


def _read(peer: socket.socket) -> bytes:
    """Read a request to its end. Raises OSError, ValueError."""
    data = b""
    while chunk := peer.recv(1 << 16):
        data += chunk
        if len(data) > CLIPBOARD_BYTES_MAX + len("paste\n"):
            raise ValueError(_TOO_LARGE)
    return data


def _answer(peer: socket.socket, text: str) -> None:
    """Answer and hang up; isoctl may have left."""
    with peer:
        try:
            peer.sendall(text.encode())
        except OSError:
            return
