"""`isoctl reload`: have isod read its policy again."""

from isoctl import cli, isod, render
from isoctl.contract_generated import POLKIT_TIMEOUT_SEC


def execute(request: cli.Request) -> int:
    """Print what changes; gives 1 if a file is refused."""
    options = {"dry-run": ("b", True)} if "dry-run" in request.options else {}
    changes = isod.manager(isod.connect(), "Reload", "a{sv}", options, timeout_sec=POLKIT_TIMEOUT_SEC + 10)
    if "json" in request.options:
        render.as_json(changes)
    else:
        for change in changes:
            where = " ".join(str(change[key]) for key in ("container", "key") if change.get(key))
            withdrawn = change.get("ends") and "app" not in change
            print(render.clean(f"{where}: {change['change']}" + (" (withdrawn)" if withdrawn else "")).lstrip(": "))
    return 1 if any(str(change["change"]).startswith("refused") for change in changes) else 0
