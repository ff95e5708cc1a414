"""What must hold on the lab host after every test, whatever the test was about."""

from __future__ import annotations

import os
import re
import signal
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from systemd import journal

from lab.machine import Lab

# Measured. Of a container: connection, root, pidfd; of an app: lifetime, terminal.
FDS = {"containers": 3, "apps": 2, "sockets": 1}
TASKS = {"containers": 1, "apps": 1}
FDS_IDLE, TASKS_IDLE = 8, 4
SLACK = 8
# A turn of isod's loop takes up to 10 ms. What it waited for a processor is the machine's fault, and not counted.
TURN_MAX_MS, TURN_BUSY_MAX_MS = 250, 150
SETTLE_SEC = 5.0
ANSWER_SEC = 20.0
PROGRAMS = ("isod", "isod-helper", "isod-prepare", "isod-session")
# owners and modes below these; of the second line only the entries themselves
TREES = ("etc", "usr/lib/systemd")
DIRECTORIES = ("home", "run/user")
# sockets that a compositor makes anew when it starts, and those of isod-session
REMADE = re.compile(r"run/user/\d+/(isoctl/.*|wayland-\d+|sway-ipc\..*|pipewire-0.*|pulse/.*)")

_LAYERS = 3
Entry = tuple[int, int, int, int]


class Broken(NamedTuple):
    """One invariant that does not hold, and how that shows."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


class Invariants:
    """Watches one lab; what is found broken is the new normal, so that one fault fails one test."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.settle_sec, self.answer_sec = SETTLE_SEC, ANSWER_SEC
        machine = lab.host_path("/etc/machine-id").read_text().strip()
        self._journal = journal.Reader(path=str(lab.host_path(f"/run/log/journal/{machine}")))
        for program in PROGRAMS:
            self._journal.add_match(SYSLOG_IDENTIFIER=program)
        self._journal.seek_tail()
        self._journal.get_previous()
        self._tracebacks: list[str] = []
        self._counters: dict[str, int] = {}
        self._excess = {"fds": 0, "tasks": 0}
        self._waited_before: tuple[int | None, int] = (None, 0)
        self._stacked: set[tuple[str, str]] = set()
        self._files = dict(self._entries())

    def accept(self) -> None:
        """Take the host's files as they are now for what is right: a module's own set-up may add some."""
        self._files = dict(self._entries())

    def broken(self) -> list[Broken]:
        """Check all; gives what does not hold."""
        return [*self._isod(), *self._traceback(), *self._host_files(), *self._mounts()]

    # -- what isod holds

    def _isod(self) -> Iterator[Broken]:
        if not self._lab.host_path("/usr/libexec/isod").exists():
            return  # not installed yet, or not any more
        deadline = time.monotonic() + self.settle_sec
        pause = threading.Event()
        turn_ms = turn_busy_ms = 0
        while True:
            counters = self._ask()
            if counters is None:
                yield Broken("isod", "does not run, or does not answer SIGUSR1")
                return
            turn_ms, turn_busy_ms = max(turn_ms, counters["turn_ms"]), max(turn_busy_ms, counters["turn_busy_ms"])
            excess = self._excess_of(counters)
            more = [kind for kind, count in excess.items() if count > SLACK + self._excess[kind]]
            if not more or time.monotonic() > deadline:
                break
            # what has just ended is still being put away
            pause.wait(0.05)
        for kind in more:
            yield Broken(kind, f"isod holds {counters[kind]} with {counters}")
        # a new isod may hold less, and is then measured from there
        self._excess = {kind: count if count > SLACK else 0 for kind, count in excess.items()}
        waited_ms = self._waited_ms()
        if turn_ms - waited_ms > TURN_MAX_MS or turn_busy_ms > TURN_BUSY_MAX_MS:
            took = f"{turn_busy_ms} of them busy, at most {waited_ms} waiting for a processor"
            yield Broken("stall", f"isod's loop served nobody for {turn_ms} ms, {took}")

    @staticmethod
    def _excess_of(counters: dict[str, int]) -> dict[str, int]:
        return {
            "fds": counters["fds"] - FDS_IDLE - sum(each * counters[kind] for kind, each in FDS.items()),
            "tasks": counters["tasks"] - TASKS_IDLE - sum(each * counters[kind] for kind, each in TASKS.items()),
        }

    def _ask(self) -> dict[str, int] | None:
        deadline = time.monotonic() + self.answer_sec
        pause = threading.Event()
        self._read_journal()
        while time.monotonic() < deadline:
            pid = self._isod_pid()
            if pid is not None and _catches(pid, signal.SIGUSR1):
                self._counters.clear()
                os.kill(pid, signal.SIGUSR1)
                # asked again after a while: journald may lose a record when it is busy
                again = min(deadline, time.monotonic() + self.answer_sec / 4)
                while time.monotonic() < again and self._isod_pid() == pid:
                    self._read_journal()
                    if self._counters:
                        return dict(self._counters)
                    pause.wait(0.001)
            pause.wait(0.02)
        return None

    def _waited_ms(self) -> int:
        """How long isod was ready and not run, by the kernel's account of its main thread, since this was asked."""
        pid = self._isod_pid()
        try:
            with open(f"/proc/{pid}/schedstat") as file:
                total_ms = int(file.read().split()[1]) // 1_000_000
        except OSError:
            return 0
        before, self._waited_before = self._waited_before, (pid, total_ms)
        return total_ms - (before[1] if before[0] == pid else 0)

    def _isod_pid(self) -> int | None:
        try:
            pids = self._lab.host_path("/sys/fs/cgroup/system.slice/isod.service/cgroup.procs").read_text().split()
        except OSError:
            return None
        return int(pids[0]) if len(pids) == 1 else None

    # -- what its journal says

    def _read_journal(self) -> None:
        self._journal.process()
        while record := self._journal.get_next():
            if record.get("ISOCTL_EVENT") == "daemon.counters":
                names = ("fds", "tasks", "containers", "apps", "sockets", "turn_ms", "turn_busy_ms")
                self._counters = {name: int(record[f"ISOCTL_{name.upper()}"]) for name in names}
            else:
                self._note_traceback(record)

    def _note_traceback(self, record: dict[str, Any]) -> None:
        text = f"{record.get('MESSAGE', '')}\n{record.get('ISOCTL_EXCEPTION', '')}"
        if "Traceback" in text:
            self._tracebacks.append(f"{record.get('SYSLOG_IDENTIFIER')} said {text.strip()}")

    def _traceback(self) -> Iterator[Broken]:
        self._read_journal()
        found, self._tracebacks = self._tracebacks, []
        for text in found:
            yield Broken("traceback", text)

    # -- the host's files

    def _host_files(self) -> Iterator[Broken]:
        before, self._files = self._files, dict(self._entries())
        if before == self._files:
            return
        for path in sorted(before.keys() | self._files.keys()):
            if before.get(path) != self._files.get(path):
                shown = f"{_shown(before.get(path))} -> {_shown(self._files.get(path))}"
                yield Broken("host-files", f"/{path}: {shown}")

    def _entries(self) -> Iterator[tuple[str, Entry]]:
        root_fd = os.open(self._lab.root, os.O_PATH | os.O_DIRECTORY)
        try:
            for directory in TREES:
                yield from _below(root_fd, directory, recursive=True)
            for directory in DIRECTORIES:
                yield from _below(root_fd, directory, recursive=False)
            for user in sorted(os.listdir(self._lab.root / "run/user")):
                for path, entry in _below(root_fd, f"run/user/{user}", recursive=True):
                    if stat.S_ISSOCK(entry[0]) and not REMADE.fullmatch(path):
                        yield path, entry
        finally:
            os.close(root_fd)

    # -- containers' mounts

    def _mounts(self) -> Iterator[Broken]:
        stacked = set()
        for unit in self._lab.host_path("/sys/fs/cgroup/machine.slice").glob("*.service"):
            try:
                leader = (unit / "payload/init.scope/cgroup.procs").read_text().split()[0]
                with open(f"/proc/{leader}/mountinfo") as file:
                    places = Counter(line.split(" ", 5)[4] for line in file)
                with open(f"/proc/{leader}/uid_map") as file:
                    locked = () if file.read().split()[1] == "0" else ("/run/isoctl", "/dev/")
            except (OSError, IndexError):
                # it is just starting or ending
                continue
            # systemd-nspawn itself mounts some of /proc twice, and masks what NixOS binds
            stacked |= {
                (unit.name, place)
                for place, count in places.items()
                if count > 1
                # What isod mounts where root inside is to keep it consists of three layers.
                and not (count == _LAYERS and place.startswith(locked))
                and not place.startswith(("/proc/", "/nix/var/nix/daemon-socket"))
            }
        for unit_name, place in sorted(stacked - self._stacked):
            yield Broken("mounts", f"{unit_name} has more than one mount at {place}")
        self._stacked = stacked


def _catches(pid: int, number: signal.Signals) -> bool:
    # before it has its handler, the signal would end it
    try:
        with open(f"/proc/{pid}/status") as file:
            caught = next(line.split()[1] for line in file if line.startswith("SigCgt:"))
    except OSError:
        return False
    return bool(int(caught, 16) >> (number - 1) & 1)


def _below(root_fd: int, directory: str, *, recursive: bool) -> Iterator[tuple[str, Entry]]:
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root_fd)
    except FileNotFoundError:
        return
    try:
        for name in os.listdir(fd):
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            path = f"{directory}/{name}"
            # a socket that was replaced is another one, though it looks the same
            inode = status.st_ino if stat.S_ISSOCK(status.st_mode) else 0
            yield path, (status.st_mode, status.st_uid, status.st_gid, inode)
            if recursive and stat.S_ISDIR(status.st_mode):
                yield from _below(root_fd, path, recursive=True)
    finally:
        os.close(fd)


def _shown(entry: Entry | None) -> str:
    if entry is None:
        return "absent"
    mode, uid, gid, inode = entry
    return f"{stat.filemode(mode)} {uid}:{gid}" + (f" inode {inode}" if inode else "")
