"""`isoctl restart`: see isoctl.lifecycle."""

from isoctl import cli, lifecycle


def execute(request: cli.Request) -> int:
    """Restart the containers and wait until they are running."""
    return lifecycle.execute(request, "Restart", "running")
