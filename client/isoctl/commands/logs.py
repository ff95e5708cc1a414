"""`isoctl logs`: what the caller's apps wrote to a container's journal."""

import os

from isoctl import cli, isod, wire
from isoctl.connect import connect
from isoctl.contract_generated import APP, CONTAINER
from isoctl.interrupts import end_by_broken_pipe

_LINE_BYTES_MAX = 64 * 1024


def execute(request: cli.Request) -> int:
    """Copy the log to stdout, line by line made harmless for a terminal."""
    bus = connect()
    name = request.operands[0]
    try:
        path, interface = isod.container_path(bus, name), CONTAINER
    except wire.RemoteError:
        path, interface = isod.app_object(isod.find_apps(bus, name)[0]), APP
    options: dict[str, tuple[str, object]] = {}
    if "follow" in request.options:
        options["follow"] = ("b", True)
    if "lines" in request.options:
        options["lines"] = ("u", request.options["lines"])
    if "since-usec" in request.options:
        options["since-usec"] = ("t", isod.since_usec(str(request.options["since-usec"])))
    reply = bus.call(path, interface, "OpenLog", "a{sv}", (options,))
    end_by_broken_pipe()
    when = "since then" if "since-usec" in request.options else "yet"
    nothing = f"no app of `isoctl run -d` has written anything {when}"
    if interface == APP:
        nothing = f"nothing of this app is logged {when}; an app without -d writes where it was started"
    _copy(reply.take_fd(int(reply.body[0])), f"isoctl: {nothing}\n")
    return 0


def _copy(fd: int, nothing: str) -> None:
    from isoctl.render import clean

    line = b""
    with os.fdopen(fd, "rb") as log:
        for line in iter(lambda: log.readline(_LINE_BYTES_MAX), b""):
            # What is longer goes on in the next line: a container's journalctl may write whatever it likes.
            print(clean(line.decode(errors="backslashreplace").rstrip("\n").replace("\t", "    ")), flush=True)
    if not line and os.isatty(2):
        from isoctl.progress import write_error

        write_error(nothing)
