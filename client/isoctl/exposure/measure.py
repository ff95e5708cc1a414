"""Runs the probe in a container, as any app of the caller's is run, and takes what it writes, within bounds."""

import os
import select
import time

from isoctl import wire
from isoctl.commands import run
from isoctl.exposure import probe
from isoctl.watch import AppWatch

_BYTES_MAX = 8 << 20
# From when it runs on; a start of the container comes before.
_SEC_MAX = 60.0
_PIPE_MODE = 0o666


def measure(bus: wire.Bus, container: str) -> bytes:
    """Give what the probe wrote, cut off where it writes too much or for too long: none of it can be trusted.

    Raises LaunchFailed, RemoteError, WireError where it can't be started.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    lifetime, keeper = os.pipe2(os.O_CLOEXEC)
    # With user namespacing the probe is another uid.
    os.fchmod(writer, _PIPE_MODE)
    os.set_blocking(writer, True)
    options = {
        "stdout": ("h", writer),
        "lifetime": ("h", lifetime),
        "hints": ("as", run.hints()),
        "id": ("s", os.urandom(16).hex()),
    }
    try:
        watch = AppWatch(bus, str(options["id"][1]), (container, probe.command(), options))
        return _read(bus, watch, reader, (writer, lifetime))
    finally:
        # Ends the probe, wherever it is.
        os.close(keeper)
        os.close(reader)


def _read(bus: wire.Bus, watch: AppWatch, reader: int, sent: tuple[int, ...]) -> bytes:
    """Read until the end of the output. Raises LaunchFailed, RemoteError, WireError."""
    written = bytearray()
    deadline = 0.0
    poll = select.poll()
    poll.register(bus.fileno(), select.POLLIN)
    poll.register(reader, select.POLLIN)
    while True:
        left_sec = deadline - time.monotonic() if deadline else 1.0
        if deadline and left_sec <= 0:
            return bytes(written)
        ready = {fd for fd, _ in poll.poll(min(1.0, left_sec) * 1000)}
        if bus.fileno() in ready:
            bus.receive()
        watch.absorb()
        watch.tick()
        if watch.accepted and sent:
            for fd in sent:
                os.close(fd)
            sent = ()
        if watch.state in ("running", "exited") and not deadline:
            deadline = time.monotonic() + _SEC_MAX
        if watch.state == "failed":
            watch.exit_status()
        if reader in ready and not sent:
            piece = os.read(reader, 65536)
            written += piece
            if not piece or len(written) > _BYTES_MAX:
                return bytes(written[:_BYTES_MAX])
