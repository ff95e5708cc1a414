"""An app's transient unit inside: where it starts, and what it means if it does not."""

from isod.core.app import App
from isod.ports import Account
from isod_contract.errors import InvalidArgument, IsodError, StartFailed

# systemd's own exit codes (systemd.exec(5), "Process Exit Codes").
EXEC_FAILED = range(200, 244)
_CHDIR = 200
_WHY = {
    203: "its shell can't be executed inside",
    216: "its group is not there inside",
    217: "account {user!r} is not known to its systemd",
}


def working_directory(asked: str | None, account: Account) -> str:
    """Give WorkingDirectory=: what was asked for must be there, the home by default need not."""
    if not asked:
        return "-~"
    # systemd knows the home alone, not what lies below it.
    return account.home.rstrip("/") + asked[1:] if asked.startswith("~/") else asked


def why_not_started(app: App, *, directory: str, status: object, result: str) -> IsodError:
    """Give the error for a start that ended with this job result and exit code."""
    record = app.record
    if status == _CHDIR:
        return InvalidArgument(
            argument="directory",
            reason=f"{directory!r} is not there in container {record.container}, or {record.user!r} may not enter it",
        )
    known = _WHY.get(status) if isinstance(status, int) else None
    reason = known.format(user=record.user) if known else f"the start of the app ended with {result} ({status})"
    return StartFailed(container=record.container, reason=reason)
