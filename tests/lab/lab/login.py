"""A graphical login of one user on the lab host, made by PAM and logind as a display manager makes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lab.enter import LabProcess, Stream, account

if TYPE_CHECKING:
    from lab.machine import Lab

# of the unit that stands in for the display manager, not of the login
_NOT_OF_LOGIN = re.compile(r"INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|MEMORY_PRESSURE_.*|MAIL")


class Login:
    """A session of class user and type wayland; its processes live in the session's scope."""

    def __init__(self, lab: Lab, user: str, *, seat: str | None, desktop: str) -> None:
        self.lab = lab
        self.user = user
        self.uid = account(lab.root, user)[0]
        self._unit = f"lab-login-{user}.service"
        told = {"XDG_SESSION_TYPE": "wayland", "XDG_SESSION_CLASS": "user", "XDG_SESSION_DESKTOP": desktop}
        if seat:
            told["XDG_SEAT"] = seat
        settings = ["User=" + user, "PAMName=login", *(f"Environment={name}={value}" for name, value in told.items())]
        self.cgroup: Path | None = None
        try:
            lab.run(
                # Type=exec: the job is done when the leader runs with the environment that PAM made for it. Before, its
                # environment is that of the unit alone.
                *("systemd-run", "--quiet", "--collect", "--service-type=exec", f"--unit={self._unit}"),
                *(f"--property={setting}" for setting in settings),
                *("sleep", "infinity"),
            )
            leader = lab.run("systemctl", "show", "-P", "MainPID", self._unit).stdout.strip()
            lab.wait_for(lambda: "session-" in self._cgroup_of(leader), what="no session scope")
            self.cgroup = lab.root / "sys/fs/cgroup" / self._cgroup_of(leader).lstrip("/")
            self.env = self._read_environment(leader) | {"XDG_CURRENT_DESKTOP": desktop}
            self.id = self.env["XDG_SESSION_ID"]
        except BaseException:
            # The next login of this user, in whatever test, must not meet the unit or the session of this one.
            self._stop()
            raise

    def _cgroup_of(self, pid: str) -> str:
        text = self.lab.run("cat", f"/proc/{pid}/cgroup").stdout
        return next(line.removeprefix("0::") for line in text.splitlines() if line.startswith("0::"))

    def _read_environment(self, pid: str) -> dict[str, str]:
        block = self.lab.run("cat", f"/proc/{pid}/environ").stdout
        pairs = (entry.partition("=") for entry in block.split("\0") if entry)
        return {name: value for name, _, value in pairs if not _NOT_OF_LOGIN.fullmatch(name)}

    def popen(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
    ) -> LabProcess:
        """Start a command in the session."""
        return self.lab.popen(
            *argv,
            user=self.user,
            env={**self.env, **(env or {})},
            cgroup=self.cgroup,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def end(self) -> None:
        """Log out: everything of the session ends."""
        self.lab.run("loginctl", "terminate-session", self.id, check=False)
        self._stop()

    def _stop(self) -> None:
        # gone with its last process, or still there
        self.lab.run("systemctl", "stop", self._unit, check=False)
        cgroup = self.cgroup
        if cgroup is not None:
            self.lab.wait_for(lambda: not cgroup.is_dir(), what=f"the session of {self.user} did not end")
