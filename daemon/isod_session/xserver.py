"""`isod-xserver CONTAINER`: an X server for one container, with a window manager.

Started for isod-session when the first X client connects, in a unit that is a sandbox (`isod_contract.sandbox`): its
clients may be hostile, and an X server is large. Standard input is a socket with what it needs
(`isod_session.handover`). The server ends when no client was connected for a while; we stay for the
next client, whose window comes sooner then. The server is a client of the user's
compositor, with one window for all that the container shows.

A user waits for the first window: the server is started before anything is imported that it does not take to start it.
"""

import os
import signal
import socket
import sys

from isod_session.confinement import EXIT_CODE, missing
from isod_session.handover import FAILED, IDLE, READY, UNCONFINED, Handover, receive, report
from isod_session.xchild import Child, find

_END_SEC = 1.0
_WAIT_SEC = 600.0
_SIZE = "1280x800"
# Of the sandbox's own.
_DIRECTORY = "/tmp"  # noqa: S108
_SOCKET = _DIRECTORY + "/window-manager"


def _arguments(given: Handover, own_fd: int) -> list[str]:
    arguments = [":0", "-listenfd", str(given.listen), "-listenfd", str(own_fd), "-nolisten", "tcp"]
    # No access control by user: with user namespacing the clients are others. The directory of the socket is the gate.
    arguments += ["-ac", "-noreset", "-decorate", "-geometry", _SIZE]
    # By glamor a client is handed an open render node (DRI3Open).
    return arguments if given.has_gpu else [*arguments, "-shm"]


def _environment(given: Handover) -> dict[str, str]:
    variables = {"PATH": given.path, "WAYLAND_SOCKET": str(given.wayland), "XDG_RUNTIME_DIR": _DIRECTORY}
    return variables if given.has_gpu else variables | {"XWAYLAND_NO_GLAMOR": "1"}


def _run(given: Handover, control: socket.socket) -> int:
    program = find("Xwayland", given.path)
    if program is None:
        return _give_up(control, FAILED, "Xwayland is not installed (apt-get install xwayland)")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as own:
        if os.path.exists(_SOCKET):
            os.unlink(_SOCKET)
        own.bind(_SOCKET)
        own.listen(1)
        argv = [program, *_arguments(given, own.fileno())]
        server = Child(argv, _environment(given), keeps=(given.listen, given.wayland, own.fileno()))
    os.close(given.listen)
    os.close(given.wayland)
    from isod_session.xmanager import serve

    with socket.socket(fileno=given.clipboard) as clipboard:
        try:
            serve(_SOCKET, server, clipboard, control)
        except OSError as error:
            code = server.wait(_END_SEC)
            if code != 0:  # else the user closed its window
                reason = f"its window manager was ended ({error})" if code is None else f"Xwayland ended ({_how(code)})"
                return _give_up(control, FAILED, reason)
        finally:
            server.end(_END_SEC)
    report(control, IDLE)
    return 0


def _waits_for_next(control: socket.socket) -> bool:
    """Wait for another run, which then begins without a new unit; false if none came, or isod-session has left."""
    import select

    ready, _, _ = select.select([control], [], [], _WAIT_SEC)
    return bool(ready)


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
    if satellite := find("xwayland-satellite", given.path):
        # Each window is one of the compositor's own, and the clipboard is shared.
        for fd in (given.listen, given.wayland):
            os.set_inheritable(fd, True)
        report(control, READY)
        argv = [satellite, ":0", "-listenfd", str(given.listen)]
        os.execve(satellite, argv, _environment(given))  # noqa: S606 - that program is the service
    while True:
        code = _run(given, control)
        if code or not _waits_for_next(control):
            return code
        try:
            given = receive(control)
        except (OSError, ValueError):
            return 0


if __name__ == "__main__":
    sys.exit(main())
