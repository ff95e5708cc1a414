"""Run a process inside the lab or inside one of its containers, from outside, in a cgroup of its own there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lab.boot import children

# the process moves itself first: logind answers EUNATCH to one outside the lab's cgroup namespace
_ENTER = 'echo 0 > "$0" && exec "$@"'
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER_PATH = "/usr/local/bin:/usr/bin:/bin"

_END_TIMEOUT_SEC = 10.0

Stream = int | IO[Any] | None


class LabProcess(subprocess.Popen[bytes]):
    """A process in the lab; `pid` is the entering program outside, `inner_pid` the command itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for its end, after a failure for no longer than it takes to kill it."""
        if kind is not None:
            self.end(signal.SIGKILL)
        super().__exit__(kind, error, trace)

    @property
    def inner_pid(self) -> int | None:
        """The command's pid as seen from outside, or None once it is gone."""
        with suppress(FileNotFoundError):
            for child in children(self.pid):
                return child
        return None

    def signal_inner(self, number: signal.Signals) -> None:
        """Send a signal to the command itself."""
        pid = self.inner_pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the command with this signal, or at last with SIGKILL."""
        deadline = time.monotonic() + _END_TIMEOUT_SEC
        while self.poll() is None:
            # again and again: it may not have been there yet
            self.signal_inner(how if time.monotonic() < deadline else signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self.wait(0.2)


def account(root: Path, user: str) -> tuple[int, int, str, str]:
    """uid, gid, home and shell of a user, as the passwd file below root says."""
    for line in (root / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == user:
            return int(fields[2]), int(fields[3]), fields[5], fields[6]
    raise LookupError(f"no user {user}")


def environment(root: Path, user: str) -> dict[str, str]:
    """What a login of this user would set."""
    uid, _, home, shell = account(root, user)
    return {
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "SHELL": shell,
        "PATH": USER_PATH if uid else PATH,
        "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": f"/run/user/{uid}",
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{uid}/bus",
    }


def host_cgroup(root: Path, uid: int) -> Path:
    """Where a process of this user belongs on the lab host: the user's manager, or a unit of the lab."""
    base = root / "sys/fs/cgroup"
    manager = base / f"user.slice/user-{uid}.slice/user@{uid}.service"
    if uid and manager.is_dir():
        return manager / "lab-exec.scope"
    return base / "system.slice/lab-exec.service/exec"


def spawn(
    leader: int,
    argv: Sequence[str],
    *,
    cgroup: Path,
    user: str,
    env: Mapping[str, str],
    cwd: str | None,
    stdin: Stream,
    stdout: Stream,
    stderr: Stream,
    pass_fds: Sequence[int] = (),
) -> LabProcess:
    """Start argv in all namespaces of the leader, as the user, with the fds unchanged."""
    root = Path(f"/proc/{leader}/root")
    uid, gid, home, _ = account(root, user)
    cgroup.mkdir(parents=True, exist_ok=True)
    directory = cwd or (home if (root / home.lstrip("/")).is_dir() else "/")
    enter = [
        *("/bin/sh", "-c", _ENTER, str(cgroup / "cgroup.procs")),
        *(shutil.which("nsenter") or "nsenter", "-t", str(leader), "-a", f"--wdns={directory}", "--"),
    ]
    if uid:
        enter += ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--init-groups", "--"]
    return LabProcess(
        [*enter, *argv],
        env=dict(env),
        cwd="/",
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(pass_fds),
    )
