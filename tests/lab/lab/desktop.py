"""A user's desktop on the lab host: a login, a compositor without a screen, what it shows, and input to it."""

from __future__ import annotations

import abc
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lab.enter import LabProcess, Stream
from lab.login import Login
from lab.notifications import Recorder
from lab.screenshot import Picture
from lab.terminal import Console

if TYPE_CHECKING:
    from lab.machine import Lab

START_TIMEOUT_SEC = 20.0
WIDTH, HEIGHT = 1280, 720
SESSION_TARGET = "lab-session.target"
# what compositors' documents say to import
IMPORTED = "WAYLAND_DISPLAY DISPLAY SWAYSOCK XDG_CURRENT_DESKTOP XDG_SESSION_TYPE"

Tells = Literal["nothing", "environment", "target"]
_TELLING: dict[Tells, str] = {
    "nothing": "",
    "environment": f"systemctl --user import-environment {IMPORTED}\n",
    "target": f"systemctl --user import-environment {IMPORTED}\nsystemctl --user start {SESSION_TARGET}\n",
}
_TARGET = "[Unit]\nDescription=Graphical session of the lab\nBindsTo=graphical-session.target\n"


class CompositorFailed(AssertionError):
    """The compositor did not come up or has ended; the text has the end of its log."""


class Desktop(abc.ABC):
    """One user's login and compositor; a context manager that leaves nothing behind.

    `tells` is what the compositor's start makes known to the user manager: "nothing" (plain sway), its
    "environment", or that and graphical-session.target ("target"). With `terminal` it has a tty as its stdio.
    """

    kind: ClassVar[str]
    # the name of its socket where that can be chosen
    fixed_display: ClassVar[str | None] = None

    def __init__(
        self,
        lab: Lab,
        user: str,
        *,
        seat: str | None = None,
        tells: Tells = "environment",
        terminal: bool = False,
        extra_config: str = "",
    ) -> None:
        self.lab = lab
        self.user = user
        self.extra_config = extra_config
        self._tells: Tells = tells
        self._seat = seat
        self._with_terminal = terminal
        self._console: Console | None = None
        self._process: LabProcess | None = None
        self._companions: list[LabProcess] = []
        self._programs: list[LabProcess] = []
        self._recorder: Recorder | None = None
        self.dir = f"/tmp/lab-desktop-{user}"
        self.files = lab.running.run_dir / f"desktop-{user}"
        self.files.mkdir(exist_ok=True)
        self.compositor_env: dict[str, str] = {}
        self.log_in()

    # -- logging in and out

    def log_in(self) -> None:
        """Log in and start the compositor."""
        self.login = Login(self.lab, self.user, seat=self._seat, desktop=self.kind)
        try:
            self._prepare()
            self._recorder = Recorder(self.login, self.files / "notifications")
            self.start()
        except BaseException:
            self.close()
            raise

    def log_out(self) -> None:
        """End the compositor and the login, each also where another step fails."""
        with contextlib.ExitStack() as last_first:
            last_first.callback(self.login.end)
            if self._console:
                last_first.callback(self._console.close)
            if self._recorder:
                last_first.callback(self._recorder.close)
            for process in self._programs:
                last_first.callback(process.end)
            last_first.callback(self.stop)
            self._console = self._recorder = None
            self._programs = []

    def close(self) -> None:
        """Log out and forget what the user manager was told."""
        try:
            self.log_out()
        finally:
            self._systemctl("unset-environment", *IMPORTED.split())

    def __enter__(self) -> Desktop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the compositor

    @abc.abstractmethod
    def _command(self) -> list[str]:
        """The compositor's argv."""

    def _compositor_environment(self) -> dict[str, str]:
        return {}

    def _write_config(self) -> None:  # noqa: B027 - not every compositor has one
        """Write what the command names, below self.dir."""

    def _started(self) -> None:  # noqa: B027 - the same
        """Do what is due after every start."""

    @property
    def _told_script(self) -> str:
        return f"{self.dir}/started"

    @property
    def display(self) -> str:
        """The absolute path of the compositor's socket."""
        return os.path.join(self.login.env["XDG_RUNTIME_DIR"], self.env["WAYLAND_DISPLAY"])

    @property
    def env(self) -> dict[str, str]:
        """The environment of a program that the compositor starts."""
        return self.login.env | self.compositor_env

    @property
    def pid(self) -> int:
        """The compositor's pid as seen from outside."""
        pid = self._process.inner_pid if self._process else None
        if pid is None:
            raise CompositorFailed(f"{self.kind} has ended\n{self.log()}")
        return pid

    def start(self) -> None:
        """Start the compositor and return once it serves clients."""
        told = self.lab.host_path(f"{self.dir}/environment")
        told.unlink(missing_ok=True)
        self._spawn()
        if self.fixed_display:
            self.compositor_env = {"WAYLAND_DISPLAY": self.fixed_display}
            self._await(self._answers)
            self.run(self._told_script)
        self._await(told.exists)
        entries = (entry.partition("=") for entry in told.read_text().split("\0") if entry)
        # the token is for the program that was started
        self.compositor_env = {
            name: value for name, _, value in entries if name not in ("XDG_ACTIVATION_TOKEN", "DESKTOP_STARTUP_ID")
        }
        self._started()

    def stop(self) -> None:
        """End the compositor as its user would."""
        self._end_compositor(signal.SIGTERM)
        if self._tells == "target":
            self._systemctl("stop", SESSION_TARGET)
            self._systemctl("unset-environment", *IMPORTED.split())

    def kill(self) -> None:
        """Kill the compositor: nobody cleans up after it."""
        self._end_compositor(signal.SIGKILL)

    def restart(self) -> None:
        """Kill the compositor and start it again."""
        self.kill()
        self.start()

    def log(self) -> str:
        """The end of what the compositor and its programs wrote."""
        return (self.files / "log").read_text(errors="replace")[-3000:]

    def terminal_settings(self) -> list[Any]:
        """The settings of the terminal that is the compositor's stdio."""
        if self._console is None:
            raise ValueError("this desktop has no terminal")
        return self._console.settings()

    def _prepare(self) -> None:
        directory = self.lab.host_path(self.dir)
        directory.mkdir(exist_ok=True)
        os.chown(directory, self.login.uid, self.login.uid)
        to = f"{self.dir}/environment"
        self.write("started", f"#!/bin/sh\n{_TELLING[self._tells]}env -0 > {to}.new && mv {to}.new {to}\n")
        if self._tells == "target":
            unit = self.lab.host_path(f"/run/systemd/user/{SESSION_TARGET}")
            unit.parent.mkdir(parents=True, exist_ok=True)
            unit.write_text(_TARGET)
            self._systemctl("daemon-reload")
        self._write_config()

    def write(self, name: str, text: str) -> None:
        """Write a file of this desktop, below self.dir."""
        path = self.lab.host_path(f"{self.dir}/{name}")
        path.write_text(text)
        path.chmod(0o755)

    def _spawn(self) -> None:
        env = self._compositor_environment()
        log_path = self.files / "log"
        if self._with_terminal:
            if self._console:
                self._console.close()
            self._console = Console(self.lab.root, self.login.uid, log_path)
            with self._console.slave() as tty:
                argv = ("setsid", "--ctty", "--", *self._command())
                self._process = self.login.popen(*argv, env=env, stdin=tty, stdout=tty, stderr=tty)
        else:
            with log_path.open("ab") as log:
                self._process = self.login.popen(*self._command(), env=env, stdout=log, stderr=subprocess.STDOUT)

    def _await(self, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            if self._process is None or self._process.poll() is not None:
                raise CompositorFailed(f"{self.kind} ended while starting\n{self.log()}")
            return condition()

        self.lab.wait_for(holds, START_TIMEOUT_SEC, f"{self.kind} is not ready")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.lab.host_path(self.display)))
            except OSError:
                return False
        return True

    def _end_compositor(self, how: signal.Signals) -> None:
        for process in self._companions:
            process.end()
        self._companions.clear()
        if self._process:
            self._process.end(how)
            self._process = None

    def _systemctl(self, *argv: str) -> None:
        self.lab.run("systemctl", "--user", *argv, user=self.user, check=False)

    # -- programs

    def popen(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.DEVNULL,
        stderr: Stream = subprocess.DEVNULL,
    ) -> LabProcess:
        """Start a command in the session, with the compositor's environment; it ends with the login at the latest."""
        process = self.login.popen(*argv, env=self.env | dict(env or {}), stdin=stdin, stdout=stdout, stderr=stderr)
        self._programs.append(process)
        return process

    def run(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | Stream = None,
        timeout_sec: float = 60.0,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end."""
        return self.lab.run(
            *argv,
            user=self.user,
            env=self.env | dict(env or {}),
            cgroup=self.login.cgroup,
            stdin=stdin,
            timeout_sec=timeout_sec,
            check=check,
        )

    # -- what it shows, and input

    @abc.abstractmethod
    def screenshot(self) -> Picture:
        """The whole screen."""

    def wait_picture(self, condition: Callable[[Picture], bool], timeout_sec: float = 15.0) -> Picture:
        """The first screenshot for which the condition holds; the last one is left as PNG where none does."""
        deadline = time.monotonic() + timeout_sec
        while True:
            picture = self.screenshot()
            if condition(picture):
                return picture
            if time.monotonic() > deadline:
                left = Path(self.files.parent.parent.parent) / f"last-screen-{self.user}.png"
                picture.save(left)
                raise TimeoutError(f"not on the screen: {picture.colours().most_common(5)}; see {left}")
            time.sleep(0.05)

    @abc.abstractmethod
    def type(self, text: str) -> None:
        """Type a text into the focused window."""

    def set_clipboard(self, text: str) -> None:
        """Offer a text as this desktop's clipboard."""
        # it goes on in the background, and must not keep our pipes
        self.run("sh", "-c", "exec wl-copy >/dev/null 2>&1", stdin=text.encode())

    def clipboard(self) -> str:
        """The text in this desktop's clipboard, empty if there is none."""
        return self.run("wl-paste", "--no-newline", check=False, timeout_sec=10).stdout

    def notifications(self) -> list[dict[str, Any]]:
        """All that were sent to this desktop since the login: summary, body, app_name, hints, ..."""
        return self._recorder.received() if self._recorder else []
