"""`isoctl __terminal TOKEN`: what `isoctl menu` has a terminal emulator start."""

from isoctl import cli, emulator


def execute(request: cli.Request) -> int:
    """Become the program that waits under the token. Raises UsageError."""
    emulator.take_over(request.operands[0])
    return 0
