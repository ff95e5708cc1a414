"""`isoctl reload`: have isod read its policy again."""

import os

from isoctl import cli, isod, render, wire
from isoctl.connect import connect
from isoctl.contract_generated import ERROR_PREFIX, POLKIT_TIMEOUT_SEC

_REFUSALS = (f"{ERROR_PREFIX}NotPermitted", f"{ERROR_PREFIX}NoAuthentication")


def execute(request: cli.Request) -> int:
    """Print what changes; gives 1 if a file is refused."""
    options = {"dry-run": ("b", True)} if "dry-run" in request.options else {}
    try:
        changes = isod.manager(connect(), "Reload", "a{sv}", options, timeout_sec=POLKIT_TIMEOUT_SEC + 10)
    except wire.RemoteError as error:
        if os.geteuid() != 0 and error.name in _REFUSALS:
            text = f"only an administrator has policy read again, as root by `sudo isoctl reload` ({error.text})"
            raise wire.RemoteError(error.name, text) from None
        raise
    if "json" in request.options:
        render.as_json(changes)
    else:
        for change in changes:
            where = " ".join(str(change[key]) for key in ("container", "key") if change.get(key))
            withdrawn = change.get("ends") and "app" not in change
            print(render.clean(f"{where}: {change['change']}" + (" (withdrawn)" if withdrawn else "")).lstrip(": "))
    return 1 if any(str(change["change"]).startswith("refused") for change in changes) else 0
