"""D-Bus server addresses (specification, "Server Addresses") and connecting to them without ever blocking."""

import asyncio
import contextlib
import socket
from urllib.parse import unquote

from isod_wire.errors import ConnectionLost

_FIRST_PAUSE_SEC = 0.005
_LONGEST_PAUSE_SEC = 0.1


def parse_address(text: str) -> list[str]:
    """Return the Unix socket names in an address list, in order; abstract ones start with a NUL.

    Other transports are left out. Raises ConnectionLost if none is left.
    """
    found = []
    for entry in text.split(";"):
        transport, _, options_text = entry.partition(":")
        options = dict(pair.split("=", 1) for pair in options_text.split(",") if "=" in pair)
        if transport != "unix":
            continue
        if "path" in options:
            found.append(unquote(options["path"]))
        elif "abstract" in options:
            found.append("\0" + unquote(options["abstract"]))
    if not found:
        raise ConnectionLost("no Unix socket in the bus address")
    return found


async def open_socket(text: str) -> socket.socket:
    """Connect to the first address in the list that answers.

    Returns a non-blocking, close-on-exec socket. Raises ConnectionLost if all fail. Has no time-out of its own.
    """
    failures = []
    for name in parse_address(text):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            await _connect(sock, name)
        except (OSError, ValueError) as error:
            sock.close()
            failures.append(f"{name.replace(chr(0), '@')}: {error}")
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise ConnectionLost("; ".join(failures))


async def _connect(sock: socket.socket, name: str) -> None:
    """Connect, waiting for room in the listener's backlog.

    Not loop.sock_connect: it takes EAGAIN, which on a Unix socket means "backlog full, nothing started", for
    EINPROGRESS, and then reports a socket as connected that is not.
    """
    pause_sec = _FIRST_PAUSE_SEC
    while True:
        with contextlib.suppress(BlockingIOError):
            sock.connect(name)
            return
        await asyncio.sleep(pause_sec)
        pause_sec = min(2 * pause_sec, _LONGEST_PAUSE_SEC)
