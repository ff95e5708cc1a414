"""`isoctl shell`: the account's login shell."""

from isoctl import cli
from isoctl.commands import run


def execute(request: cli.Request) -> int:
    """Run the login shell; gives its exit code."""
    # It runs the profile itself, and with the terminal; without one if that is asked for.
    is_login = request.options.get("login-shell", True)
    request.options["login-shell"] = False
    return run.start(request, ["/bin/sh", "-c", f'exec "${{SHELL:-/bin/sh}}"{" -l" if is_login else ""}'])
