"""`isod-xserver CONTAINER`: an X server for one container, with the smallest window manager that does.

Started for isod-session when the first X client connects, in a unit that is a sandbox (`isod_contract.sandbox`): its
clients may be hostile, and an X server is large. Standard input is a socket with what it needs
(`isod_session.handover`). It ends when no client was connected for a while. The server is a client of the user's
compositor, with one window for all that the container shows: the newest window fills it, dialogs float above.
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

from isod_session.confinement import EXIT_CODE, missing
from isod_session.handover import FAILED, IDLE, READY, UNCONFINED, Handover, receive, report
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
_END_SEC = 1.0
# Of the sandbox's own.
_DIRECTORY = "/tmp"  # noqa: S108
_SOCKET = _DIRECTORY + "/window-manager"
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


def _command(given: Handover, own_fd: int) -> list[str]:
    command = ["Xwayland", ":0", "-listenfd", str(given.listen), "-listenfd", str(own_fd), "-nolisten", "tcp"]
    # No access control by user: with user namespacing the clients are others. The directory of the socket is the gate.
    command += ["-ac", "-noreset", "-decorate", "-geometry", _SIZE]
    # By glamor a client is handed an open render node (DRI3Open).
    return command if given.has_gpu else [*command, "-shm"]


def _environment(given: Handover) -> dict[str, str]:
    variables = {"PATH": given.path, "WAYLAND_SOCKET": str(given.wayland), "XDG_RUNTIME_DIR": _DIRECTORY}
    return variables if given.has_gpu else variables | {"XWAYLAND_NO_GLAMOR": "1"}


def _serve(server: subprocess.Popen[bytes], clipboard_listener: socket.socket, control: socket.socket) -> None:
    """Manage windows until the server ends, or nobody uses it any more. Raises ConnectionError, OSError."""
    x = XConnection(_SOCKET)
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
            report(control, IDLE)
            break
    clipboard.close()


def _run(given: Handover, control: socket.socket) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as own:
        own.bind(_SOCKET)
        own.listen(1)
        kept = (given.listen, given.wayland, own.fileno())
        try:
            server = subprocess.Popen(
                _command(given, own.fileno()), env=_environment(given), pass_fds=kept, stdin=subprocess.DEVNULL
            )
        except FileNotFoundError:
            return _give_up(control, FAILED, "Xwayland is not installed (apt-get install xwayland)")
    os.close(given.listen)
    os.close(given.wayland)
    with socket.socket(fileno=given.clipboard) as clipboard:
        try:
            _serve(server, clipboard, control)
        except OSError as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(_END_SEC)
            if server.returncode == 0:
                report(control, IDLE)  # the user closed its window
            else:
                code = server.returncode
                reason = f"its window manager was ended ({error})" if code is None else f"Xwayland ended ({_how(code)})"
                return _give_up(control, FAILED, reason)
        finally:
            # Not below systemd 257, where nothing here may signal: then the end of the unit is its end.
            with contextlib.suppress(PermissionError, subprocess.TimeoutExpired):
                server.terminate()
                server.wait(_END_SEC)
    return 0


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _give_up(control: socket.socket, what: str, reason: str) -> int:
    sys.stderr.write(f"isod-xserver: {what}{reason}\n")
    report(control, f"{what}{reason}")
    return EXIT_CODE if what == UNCONFINED else 1


def main() -> int:
    """Serve what the socket on standard input gives; gives the exit code."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: isod-xserver CONTAINER\n")
        return 2
    # The unit is stopped by SIGTERM: leave by way of `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        control = socket.socket(fileno=os.dup(0))
        given = receive(control)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"isod-xserver: standard input: {error}\n")
        return 2
    if walls := missing(given.host, may_have_nodes=given.has_gpu):
        return _give_up(control, UNCONFINED, ", ".join(walls))
    if satellite := shutil.which("xwayland-satellite", path=given.path):
        # Each window is one of the compositor's own, and the clipboard is shared.
        for fd in (given.listen, given.wayland):
            os.set_inheritable(fd, True)
        report(control, READY)
        os.execve(satellite, [satellite, ":0", "-listenfd", str(given.listen)], _environment(given))  # noqa: S606 - that program is the service
    return _run(given, control)


if __name__ == "__main__":
    sys.exit(main())
