"""The lab as tests and demonstrations use it: run commands, reach containers, read the journal."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, overload

from lab import boot, product
from lab.compositors import open_desktop
from lab.containers import BY_NAME
from lab.desktop import Desktop
from lab.enter import LabProcess, Stream, account, environment, host_cgroup, spawn
from lab.terminal import Terminal, open_pty


class Lab:
    """One booted lab; use it as a context manager, it is gone at the end."""

    def __init__(self, running: boot.Running, bus: str) -> None:
        self.running = running
        self.name = running.name
        self.pid = running.leader
        self.bus = bus
        self.root = Path(f"/proc/{self.pid}/root")

    @classmethod
    def boot(
        cls, name: str | None = None, bus: str = "dbus-daemon", tree: str = "plain", guest: Path | None = None
    ) -> Lab:
        """Boot a lab of this name (or a random one) with dbus-daemon or dbus-broker, from one of tree.TREES.

        With the tree of a guest it has neither containers nor the product, but that tree at /srv/guest.
        """
        return cls(boot.start(name, bus, tree, guest), bus)

    def stop(self) -> None:
        """End the lab; nothing of it remains."""
        self.running.stop()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- commands on the lab host

    def popen(
        self,
        *argv: str,
        user: str = "root",
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
        cgroup: Path | None = None,
    ) -> LabProcess:
        """Start a command on the lab host, in the user's manager unless told where; fds go in unchanged."""
        uid = account(self.root, user)[0]
        return spawn(
            self.pid,
            argv,
            cgroup=cgroup or host_cgroup(self.root, uid),
            user=user,
            env={**environment(self.root, user), **(env or {})},
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
        )

    @overload
    def run(
        self, *argv: str, raw: Literal[True], user: str = ..., stdin: bytes | Stream = ...,
        timeout_sec: float = ..., check: bool = ..., env: Mapping[str, str] | None = ..., cwd: str | None = ...,
        cgroup: Path | None = ...,
    ) -> subprocess.CompletedProcess[bytes]: ...  # fmt: skip

    @overload
    def run(
        self, *argv: str, raw: Literal[False] = ..., user: str = ..., stdin: bytes | Stream = ...,
        timeout_sec: float = ..., check: bool = ..., env: Mapping[str, str] | None = ..., cwd: str | None = ...,
        cgroup: Path | None = ...,
    ) -> subprocess.CompletedProcess[str]: ...  # fmt: skip

    def run(
        self,
        *argv: str,
        user: str = "root",
        stdin: bytes | Stream = None,
        timeout_sec: float = 60.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        cgroup: Path | None = None,
        raw: bool = False,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command on the lab host to its end, and capture what it says."""
        given, source = _split_stdin(stdin)
        pipe = subprocess.PIPE
        process = self.popen(*argv, user=user, stdin=source, stdout=pipe, stderr=pipe, env=env, cwd=cwd, cgroup=cgroup)
        return _finish(process, argv, given, timeout_sec, check, raw)

    def pty(
        self,
        *argv: str,
        user: str = "root",
        rows: int = 24,
        columns: int = 80,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Terminal:
        """Start a command with a controlling terminal of its own."""
        master, slave = open_pty(str(self.root / "dev/pts"), account(self.root, user)[0], rows, columns)
        with open(slave, "rb+", buffering=0) as terminal:
            process = self.popen(
                *("setsid", "--ctty", "--", *argv),
                user=user,
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                env={"TERM": "xterm", **(env or {})},
                cwd=cwd,
            )
        return Terminal(process, master)

    def desktop(self, user: str, compositor: str = "sway", **options: Any) -> Desktop:
        """Log a user in with a compositor of his own; the options are those of desktop.Desktop."""
        return open_desktop(self, user, compositor, **options)

    # -- containers

    def unit(self, name: str) -> str:
        """The unit that runs a container."""
        return BY_NAME[name].unit if name in BY_NAME else f"container@{name}.service"

    def leader(self, name: str) -> int:
        """The pid, as seen from outside, of a running container's PID 1; LookupError if there is none."""
        payload = self.root / "sys/fs/cgroup/machine.slice" / self.unit(name) / "payload"
        for procs in (payload / "init.scope/cgroup.procs", payload / "cgroup.procs"):
            try:
                pids = procs.read_text().split()
            except OSError:
                continue
            if pids:
                return int(pids[0])
        raise LookupError(f"container {name} is not running")

    def start(self, name: str, timeout_sec: float = 60.0) -> None:
        """Start a container's unit and wait for the job; returns at once where it runs already."""
        self.run("systemctl", "start", self.unit(name), timeout_sec=timeout_sec)

    def stop_container(self, name: str) -> None:
        """Stop a container's unit and forget that it failed."""
        self.run("systemctl", "stop", self.unit(name))
        self.run("systemctl", "reset-failed", self.unit(name), check=False)

    def container_popen(
        self,
        name: str,
        *argv: str,
        user: str = "root",
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> LabProcess:
        """Start a command inside a running container, by its namespaces: needs nothing of the container."""
        leader = self.leader(name)
        root = Path(f"/proc/{leader}/root")
        payload = self.root / "sys/fs/cgroup/machine.slice" / self.unit(name) / "payload"
        return spawn(
            leader,
            argv,
            cgroup=payload / "system.slice/lab-exec.service",
            user=user,
            env={**environment(root, user), **(env or {})},
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
        )

    def in_container(
        self,
        name: str,
        *argv: str,
        user: str = "root",
        stdin: bytes | Stream = None,
        timeout_sec: float = 60.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside a running container to its end."""
        given, source = _split_stdin(stdin)
        pipe = subprocess.PIPE
        process = self.container_popen(name, *argv, user=user, stdin=source, stdout=pipe, stderr=pipe, env=env, cwd=cwd)
        return _finish(process, argv, given, timeout_sec, check, raw=False)

    def container_of(self, pid: int) -> str | None:
        """The container in whose unit a process runs, by its pid on the lab host; None: it is the host's own."""
        cgroup = self.run("cat", f"/proc/{pid}/cgroup").stdout
        _, _, unit = cgroup.partition("/machine.slice/")
        unit = unit.partition("/")[0]
        for name in BY_NAME:
            if unit == self.unit(name):
                return name
        # One that a test made, or that no unit was chosen for yet: run by container@.
        is_instance = unit.startswith("container@") and unit.endswith(".service")
        return unit.removeprefix("container@").removesuffix(".service") if is_instance else None

    # -- looking at things

    def host_path(self, path: str) -> Path:
        """How to reach a file of the lab host from outside."""
        return self.root / path.lstrip("/")

    def journal(self, unit: str | None = None, **fields: str) -> list[dict[str, Any]]:
        """Records of the lab host's journal, oldest first."""
        argv = ["journalctl", "-o", "json", "--all", "--no-pager", "-q"]
        if unit:
            argv += ["-u", unit]
        argv += [f"{key}={value}" for key, value in fields.items()]
        return [json.loads(line) for line in self.run(*argv).stdout.splitlines()]

    def wait_for(self, condition: Callable[[], bool], timeout_sec: float = 10.0, what: str = "") -> None:
        """Wait until a condition holds that no event tells."""
        deadline = time.monotonic() + timeout_sec
        pause = threading.Event()
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(what or "condition does not hold")
            pause.wait(0.02)

    def reinstall(self) -> bool:
        """Install the checkout again into this running lab and restart isod; False: nothing to install."""
        if not product.install(product.repository(), self.root):
            return False
        self.run("systemctl", "daemon-reload")
        for unit in product.UNITS:
            if self.host_path(f"/usr/lib/systemd/system/{unit}").exists():
                self.run("systemctl", "enable", unit)
                self.run("systemctl", "restart", unit)
        self.run("systemctl", "reload", "dbus.service")
        return True


def _split_stdin(stdin: bytes | Stream) -> tuple[bytes | None, Stream]:
    if isinstance(stdin, bytes):
        return stdin, subprocess.PIPE
    return None, subprocess.DEVNULL if stdin is None else stdin


def _finish(
    process: LabProcess,
    argv: Sequence[str],
    given: bytes | None,
    timeout_sec: float,
    check: bool,
    raw: bool,
) -> subprocess.CompletedProcess[Any]:
    with process:
        try:
            out, err = process.communicate(given, timeout_sec)
        except BaseException:
            process.signal_inner(signal.SIGKILL)
            process.kill()
            raise
    result: subprocess.CompletedProcess[Any]
    if raw:
        result = subprocess.CompletedProcess(argv, process.returncode, out, err)
    else:
        result = subprocess.CompletedProcess(
            argv,
            process.returncode,
            out.decode(errors="surrogateescape"),
            err.decode(errors="surrogateescape"),
        )
    if check and process.returncode:
        raise CommandFailed(result)
    return result


class CommandFailed(AssertionError):
    """A command that should have succeeded did not; the text has its output."""

    def __init__(self, result: subprocess.CompletedProcess[Any]) -> None:
        super().__init__(f"{list(result.args)} -> {result.returncode}\n{result.stdout}\n{result.stderr}")
        self.result = result
