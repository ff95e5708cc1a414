"""`isod-xserver CONTAINER`: an X server for one container, with the smallest window manager that does.

Started by isod-session as a unit of the user when the first X client connects; standard input is the listening socket.
It ends when no client was connected for a while. The server is a client of the user's compositor, with one window for
all that the container shows: the newest window fills it, dialogs float above.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

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
from isod_session.xclipboard import Clipboard

_FIRST_CLIENT_SEC = 30.0
_IDLE_SEC = 1.0
_LOOK_SEC = 0.5
_START_SEC = 10.0
_NORMAL_STATE = 1
_SIZE = "1280x800"


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


def _start_server(listen_fd: int, own_fd: int) -> subprocess.Popen[bytes]:
    command = ["Xwayland", ":0", "-listenfd", str(listen_fd), "-listenfd", str(own_fd), "-nolisten", "tcp"]
    # No access control by user: with user namespacing the clients are others. The directory of the socket is the gate.
    command += ["-ac", "-noreset", "-decorate", "-geometry", _SIZE]
    return subprocess.Popen(command, pass_fds=(listen_fd, own_fd), stdin=subprocess.DEVNULL)


def _serve(path: Path, server: subprocess.Popen[bytes], clipboard_path: Path) -> None:
    """Manage windows until the server ends, or nobody uses it any more."""
    x = XConnection(str(path))
    manager = WindowManager(x)
    manager.begin()
    clipboard = Clipboard.listen(x, clipboard_path)
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


def _run(container: str) -> int:
    runtime_directory = Path(os.environ["XDG_RUNTIME_DIR"])
    path = runtime_directory / f"isoctl/x11-{container}"
    clipboard_path = runtime_directory / f"isoctl/clipboard-{container}"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as own:
        own.bind(str(path))
        own.listen(1)
        # Not as 0: a server that closes its standard input would lose it.
        listen_fd = os.dup(0)
        server = _start_server(listen_fd, own.fileno())
    try:
        _serve(path, server, clipboard_path)
    except ConnectionError as error:
        sys.stderr.write(f"isod-xserver: {error}\n")
    finally:
        path.unlink(missing_ok=True)
        clipboard_path.unlink(missing_ok=True)
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_START_SEC)
        server.kill()
    return 0


def main() -> int:
    """Serve the listening socket on standard input; gives the exit code."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: isod-xserver CONTAINER\n")
        return 2
    # The unit is stopped by SIGTERM: leave by way of `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if satellite := shutil.which("xwayland-satellite"):
        # Each window is one of the compositor's own, and the clipboard is shared.
        listen_fd = os.dup(0)
        os.set_inheritable(listen_fd, True)
        os.execv(satellite, [satellite, ":0", "-listenfd", str(listen_fd)])  # noqa: S606 - that program is the service
    return _run(sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())
