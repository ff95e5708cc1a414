"""`isod-session`: started by D-Bus or systemd as a service of the user."""

import asyncio
import logging
import sys

from isod_contract import VERSION
from isod_session.environment import initial_environment
from isod_session.service import run


def main() -> int:
    """Run until the session ends; gives the exit code."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        sys.stdout.write(f"isod-session {VERSION}\n")
        return 0
    if arguments:
        sys.stderr.write("usage: isod-session [--version]\n")
        return 2
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    return asyncio.run(run(initial_environment()))


if __name__ == "__main__":
    sys.exit(main())
