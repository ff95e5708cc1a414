"""Entry point of isod: `--check [DIR]` validates the policy files, without it the daemon runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

from isod.host import floor
from isod_contract import VERSION

_EXIT_NO_BUS = 75  # sysexits.h, EX_TEMPFAIL: systemd starts isod again


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon or the check on sys.argv; gives the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["--version"]:
        sys.stdout.write(f"isod {VERSION}\n")
        return 0
    is_check = arguments[:1] == ["--check"] and len(arguments) <= 2
    if arguments and not is_check:
        sys.stderr.write("isod: usage: isod [--check [DIRECTORY] | --version]\n")
        return 2
    try:
        # Before anything is imported that would fail in words of its own. Policy is also checked where it is written,
        # under any kernel.
        kernel = {} if is_check else floor.kernel_version()
        floor.check({**floor.python_versions(), **kernel}, floor.missing_modules())
        return _check(arguments[1:]) if is_check else _run()
    except floor.BelowFloor as refusal:
        sys.stderr.write(f"{refusal}\n")
        if not is_check:
            _tell_systemd(f"STATUS={refusal}")
        return floor.EXIT_CODE


def _tell_systemd(text: str) -> None:
    """Tell the service manager something (sd_notify(3)): isoctl reads it there, while the log is not everybody's."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, contextlib.suppress(OSError):
            notify.sendto(text.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


def _check(arguments: list[str]) -> int:
    from isod.policy_loader import DIRECTORY, check

    return check(Path(arguments[0]) if arguments else DIRECTORY)


def _run() -> int:
    from isod.app import run
    from isod.counters import MeasuredLoop
    from isod_wire import WireError

    try:
        with asyncio.Runner(loop_factory=MeasuredLoop) as runner:
            return runner.run(run())
    except WireError as error:
        # The bus is away, or being restarted: systemd starts us again.
        sys.stderr.write(f"isod can't use the system bus: {error}; see `systemctl status dbus.service`\n")
        return _EXIT_NO_BUS


if __name__ == "__main__":
    sys.exit(main())
