"""`isoctl start`: see isoctl.lifecycle."""

from isoctl import cli, lifecycle


def execute(request: cli.Request) -> int:
    """Start the containers and wait until they are running."""
    return lifecycle.execute(request, "Start", "running")
