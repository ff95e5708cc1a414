"""`isoctl shell`: the account's login shell."""

from isoctl import cli
from isoctl.commands import run


def execute(request: cli.Request) -> int:
    """Run the login shell; gives its exit code."""
    return run.start(request, ["/bin/sh", "-c", 'exec "${SHELL:-/bin/sh}" -l'])
