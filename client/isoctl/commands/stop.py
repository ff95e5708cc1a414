"""`isoctl stop`: see isoctl.lifecycle."""

from isoctl import cli, lifecycle


def execute(request: cli.Request) -> int:
    """Stop the containers and wait until they are stopped."""
    return lifecycle.execute(request, "Stop", "stopped")
