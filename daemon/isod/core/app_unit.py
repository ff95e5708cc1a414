"""An app's transient unit inside: its properties, and what it means if it does not start."""

from collections.abc import Mapping
from typing import Any

from isod.core.app import App, AppRecord
from isod.core.command import Start
from isod.ports import Account
from isod_contract.errors import InvalidArgument, IsodError, StartFailed, Unsupported

# systemd's own exit codes (systemd.exec(5), "Process Exit Codes").
EXEC_FAILED = range(200, 244)
_CHDIR = 200
_SIGNALS = list(range(1, 32))  # that end a process, or may; of the real-time ones nobody ends by design
_STREAMS = {"stdin": "Input", "stdout": "Output", "stderr": "Error"}
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


def unit_properties(record: AppRecord, start: Start, account: Account, directory: str) -> list[tuple[str, str, Any]]:
    """Give the unit's properties but for its streams (systemd.service(5), systemd.exec(5)); callers name none.

    One that was given descriptors of the caller's ends with its main process, and does not kill what that left: see
    isod.core.adoption. All ways to end are a success to it, but for the codes by which systemd says that nothing ran.
    """
    own_end = [
        ("ExitType", "s", "main"),
        ("KillMode", "s", "process"),
        ("SuccessExitStatus", "(aiai)", [[code for code in range(1, 256) if code not in EXEC_FAILED], _SIGNALS]),
    ]
    common_end = [("ExitType", "s", "cgroup"), ("KillMode", "s", "control-group")]
    return [
        *(own_end if record.lends_streams else common_end),
        ("Description", "s", f"isoctl app {record.id[:12]} of uid {record.owner_uid}"),
        ("Type", "s", "exec"),
        ("CollectMode", "s", "inactive"),
        ("RemainAfterExit", "b", True),
        ("IgnoreSIGPIPE", "b", False),
        ("SendSIGHUP", "b", True),
        ("OOMPolicy", "s", "continue"),
        ("TimeoutStopUSec", "t", record.stop_timeout_usec),
        ("User", "s", account.name),
        ("WorkingDirectory", "s", directory),
        ("LogExtraFields", "aay", [f"ISOCTL_UID={record.owner_uid}".encode()]),
        ("SyslogIdentifier", "s", "isoctl-app"),
        ("ExecStartEx", "a(sasas)", [[start.path, list(start.argv), ["no-env-expand"]]]),
    ]


def stream_properties(streams: Mapping[str, int | None]) -> tuple[list[tuple[str, str, Any]], list[int]]:
    """Give those of its streams, with the descriptors that they name; a stream without one goes to the journal."""
    properties: list[tuple[str, str, Any]] = []
    fds: list[int] = []
    for name, fd in streams.items():
        key = f"Standard{_STREAMS[name]}"
        if fd is not None and fd >= 0:
            properties.append((f"{key}FileDescriptor", "h", len(fds)))
            fds.append(fd)
        elif name == "stdin" or fd == -1:
            properties.append((key, "s", "null"))
        else:
            properties.append((key, "s", "journal"))
    return properties, fds


# What gives an app what a variable leads to; not yet for these.
_NO_GRANT = {"SSH_AUTH_SOCK": "ssh agents", "GPG_AGENT_INFO": "gpg agents"}


def not_inside(variable: str, container: str) -> Unsupported:
    """Give the warning for a variable that leads to a path which only the host has."""
    kind = _NO_GRANT.get(variable)
    way_out = f"there is no grant for {kind} yet" if kind else "share it, or give a path inside"
    return Unsupported(
        what=f"the use of {variable}", reason=f"it names a path of the host that container {container} lacks; {way_out}"
    )


def not_shared(path: str, container: str) -> InvalidArgument:
    """Give the error for a working directory that only the host has."""
    return InvalidArgument(
        argument="directory",
        reason=f"{path!r} of the host is not shared with container "
        f"{container}; share it (Bind= in /etc/systemd/nspawn/{container}.nspawn, bindMounts on NixOS), or name a "
        "directory inside",
    )


def why_not_started(app: App, *, directory: tuple[str, str], status: object, result: str) -> IsodError:
    """Give the error for a start that ended with this job result and exit code.

    `directory` is the one inside, and the one of the host that was meant and is not shared, "" for none.
    """
    record = app.record
    if status == _CHDIR and directory[1]:
        return not_shared(directory[1], record.container)
    if status == _CHDIR:
        return InvalidArgument(
            argument="directory",
            reason=f"{directory[0]!r} is not there in container {record.container}, or {record.user!r} may not enter "
            "it",
        )
    known = _WHY.get(status) if isinstance(status, int) else None
    code = status if isinstance(status, int) else "no exit code"
    reason = known.format(user=record.user) if known else f"the start of the app ended with {result} ({code})"
    return StartFailed(container=record.container, reason=reason)
