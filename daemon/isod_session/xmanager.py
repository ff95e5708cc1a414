"""The smallest window manager that does, for the X server of one container: the newest window fills the server's own.

Dialogs float above. It also is the X client that moves text for `isoctl clipboard`, and it ends the server when nobody
uses it any more.
"""

import select
import socket
import time

from isod_session.handover import READY, report
from isod_session.x11wire import (
    ATOM,
    BUTTON_PRESS,
    CONFIGURE_NOTIFY,
    CONFIGURE_REQUEST,
    DESTROY_NOTIFY,
    MAP_REQUEST,
    UNMAP_NOTIFY,
    WINDOW,
    WM_TRANSIENT_FOR,
    Event,
    Geometry,
    XConnection,
)
from isod_session.xchild import Child
from isod_session.xclipboard import Clipboard

_FIRST_CLIENT_SEC = 30.0
_IDLE_SEC = 1.0
_LOOK_SEC = 0.5
_NORMAL_STATE = 1


class WindowManager:
    """Keeps one window in front and full size, and gives it the keyboard."""

    def __init__(self, x: XConnection) -> None:
        """Take the connection."""
        self._x = x
        self._size = x.size
        self._stack: list[int] = []
        self._floating: dict[int, Geometry] = {}

    @property
    def has_windows(self) -> bool:
        """Whether anything is shown."""
        return bool(self._stack)

    def begin(self) -> None:
        """Take over, and say so as toolkits expect (EWMH, _NET_SUPPORTING_WM_CHECK)."""
        x = self._x
        x.become_window_manager()
        check = x.create_window()
        for window in (check, x.root):
            x.set_property(window, x.atom("_NET_SUPPORTING_WM_CHECK"), WINDOW, (check,))
        x.set_bytes(check, x.atom("_NET_WM_NAME"), x.atom("UTF8_STRING"), b"isoctl")
        supported = ("_NET_SUPPORTING_WM_CHECK", "_NET_ACTIVE_WINDOW", "_NET_WM_NAME")
        x.set_property(x.root, x.atom("_NET_SUPPORTED"), ATOM, tuple(map(x.atom, supported)))

    def handle(self, event: Event) -> None:
        """Do what one event asks for."""
        if event.code == MAP_REQUEST:
            self._show(event.window(8))
        elif event.code == CONFIGURE_REQUEST:
            self._configure(event)
        elif event.code == CONFIGURE_NOTIFY and event.window(8) == self._x.root:
            self._resize(event)
        elif event.code in (DESTROY_NOTIFY, UNMAP_NOTIFY):
            self._hide(event.window(8))
        elif event.code == BUTTON_PRESS:
            self._to_front(event.window(12))
            self._x.pass_click_on()

    def _show(self, window: int) -> None:
        if window not in self._stack:
            self._x.watch_clicks(window)
        if self._x.get_number(window, WM_TRANSIENT_FOR):
            self._floating.setdefault(window, Geometry(0, 0, 0, 0))
        else:
            self._fill(window)
        state = self._x.atom("WM_STATE")
        self._x.set_property(window, state, state, (_NORMAL_STATE, 0))
        self._x.map(window)
        self._to_front(window)

    def _configure(self, event: Event) -> None:
        window = event.window(8)
        width, height = int.from_bytes(event.data[20:22], "little"), int.from_bytes(event.data[22:24], "little")
        if window in self._stack and window not in self._floating:
            self._fill(window)
            return
        width, height = min(width, self._size[0]), min(height, self._size[1])
        wanted = Geometry((self._size[0] - width) // 2, (self._size[1] - height) // 2, max(width, 1), max(height, 1))
        if window in self._floating:
            self._floating[window] = wanted
        self._x.place(window, wanted)

    def _resize(self, event: Event) -> None:
        self._size = (int.from_bytes(event.data[20:22], "little"), int.from_bytes(event.data[22:24], "little"))
        for window in self._stack:
            if window not in self._floating:
                self._fill(window)

    def _hide(self, window: int) -> None:
        self._floating.pop(window, None)
        if window in self._stack:
            self._stack.remove(window)
            if self._stack:
                self._to_front(self._stack[-1])

    def _fill(self, window: int) -> None:
        self._x.place(window, Geometry(0, 0, *self._size))

    def _to_front(self, window: int) -> None:
        if window in self._stack:
            self._stack.remove(window)
        self._stack.append(window)
        self._x.raise_(window)
        self._x.focus(window)
        self._x.set_property(self._x.root, self._x.atom("_NET_ACTIVE_WINDOW"), WINDOW, (window,))


def serve(path: str, server: Child, clipboard_listener: socket.socket, control: socket.socket) -> None:
    """Manage the windows of the server at a socket until nobody uses it any more. Raises OSError if it ends before."""
    x = XConnection(path)
    manager = WindowManager(x)
    manager.begin()
    clipboard = Clipboard(x, clipboard_listener)
    report(control, READY)
    deadline = time.monotonic() + _FIRST_CLIENT_SEC
    while server.poll() is None:
        wait_sec = None if manager.has_windows and not clipboard.is_asking else _LOOK_SEC
        sources: list[XConnection | Clipboard] = [x, clipboard]
        ready = [x] if x.has_events() else select.select(sources, [], [], wait_sec)[0]
        if x in ready:
            for event in x.events():
                if not clipboard.handle(event):
                    manager.handle(event)
        if clipboard in ready:
            clipboard.accept()
        clipboard.give_up()
        # A client without windows, as xclip is one, keeps the server too.
        if manager.has_windows or x.client_count() > 1:
            deadline = time.monotonic() + _IDLE_SEC
        elif time.monotonic() > deadline:
            break
    clipboard.close()
