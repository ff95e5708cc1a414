"""`isoctl clipboard`: text between the user's clipboard and that of a container's own X server, by their act alone."""

import os
import select
import socket
import subprocess
import time

from isoctl import cli, isod
from isoctl.connect import connect
from isoctl.contract_generated import CLIPBOARD_BYTES_MAX, CLIPBOARD_TIMEOUT_SEC

# The text is any, so that of a page or a spreadsheet is there too; without the line end that wl-paste would add.
_READ = ("wl-paste", "--no-newline", "--type", "text")
_WRITE = ("wl-copy", "--type", "text/plain;charset=utf-8")
_DIRECTIONS = ("copy", "paste")


class _Failed(Exception):
    """The text did not get there; the message is one line."""


def execute(request: cli.Request) -> int:
    """Move the text; gives the exit code."""
    from isoctl.__main__ import FAILED, complain

    direction, name = request.operands
    if direction not in _DIRECTIONS:
        message = f"{direction!r} is neither copy nor paste"
        raise cli.UsageError(message)
    isod.container_path(connect(), name)
    try:
        if direction == "copy":
            _set_own(_ask(name, b"copy\n"))
        else:
            _ask(name, b"paste\n" + _own())
    except (_Failed, OSError) as error:
        return complain(str(error), FAILED)
    return 0


def _ask(name: str, request: bytes) -> bytes:
    """Have the window manager of the container's X server do it; gives the text that it answers with."""
    path = f"{os.environ.get('XDG_RUNTIME_DIR', '')}/isoctl/clipboard-{name}"
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(2 * CLIPBOARD_TIMEOUT_SEC)
        try:
            peer.connect(path)
        except OSError:
            message = (
                f"container {name!r} has no X server with a clipboard of its own: start an X program in it first; "
                "Wayland programs share yours, and X programs where xwayland-satellite is installed"
            )
            raise _Failed(message) from None
        peer.sendall(request)
        peer.shutdown(socket.SHUT_WR)
        while chunk := peer.recv(1 << 16):
            answer += chunk
    state, _, text = answer.partition(b"\n")
    if state != b"ok":
        raise _Failed(state.decode(errors="replace") or "the X server has ended")
    return text


def _own() -> bytes:
    """Give the text of the user's clipboard."""
    reader = _start(_READ, stdout=subprocess.PIPE)
    assert reader.stdout is not None
    text = b""
    deadline = time.monotonic() + CLIPBOARD_TIMEOUT_SEC
    try:
        # Who holds it may be an app in a container, and send for ever, or nothing.
        while len(text) <= CLIPBOARD_BYTES_MAX:
            if not select.select([reader.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                message = f"the program that holds your clipboard gave it not within {CLIPBOARD_TIMEOUT_SEC:.0f} s"
                raise _Failed(message)
            chunk = os.read(reader.stdout.fileno(), 1 << 16)
            if not chunk:
                break
            text += chunk
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()
    if len(text) > CLIPBOARD_BYTES_MAX:
        message = f"the text is larger than {CLIPBOARD_BYTES_MAX} bytes"
        raise _Failed(message)
    if not text:
        message = "there is no text in your clipboard"
        raise _Failed(message)
    return text


def _set_own(text: bytes) -> None:
    """Make a text the user's clipboard; the program goes on in the background, as long as it is that."""
    writer = _start(_WRITE, stdin=subprocess.PIPE)
    try:
        writer.communicate(text, timeout=CLIPBOARD_TIMEOUT_SEC)
    except subprocess.TimeoutExpired:
        writer.kill()
    if writer.wait():
        message = "your compositor did not take the text"
        raise _Failed(message)


def _start(
    argv: "tuple[str, ...]", *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        message = f"{argv[0]} is not on PATH; install wl-clipboard"
        raise _Failed(message) from None
