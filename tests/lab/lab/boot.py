"""Start a lab, wait until it is usable, and end it; whatever a killed lab left is cleaned at the next start."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab import cgroups, needs
from lab.product import repository
from lab.stage import Plan
from lab.tree import cache_dir, host_tree

START_TIMEOUT_SEC = 60.0
INOTIFY_INSTANCES = 4096


class BootFailed(RuntimeError):
    """The lab did not come up; the text has the end of its console."""


@dataclass
class Running:
    """A booted lab: the processes outside that keep it, and its PID 1 as seen from outside."""

    name: str
    run_dir: Path
    process: subprocess.Popen[bytes]
    lock: IO[str]
    leader: int
    boot_sec: float

    def stop(self) -> None:
        """End the lab at once; the kernel takes down its namespaces and mounts with it."""
        self.process.kill()
        self.process.wait()
        self.lock.close()
        root = cgroups.hierarchy()
        if root is not None:
            cgroups.remove(root / self.name, wait_sec=5.0)
        shutil.rmtree(self.run_dir, ignore_errors=True)


def run_dirs() -> Path:
    """The directory that holds one directory per running lab."""
    return cache_dir() / "runs"


def _clean_stale() -> None:
    for directory in run_dirs().iterdir():
        # a directory without a lock file may be one that is just being made
        if (directory / "lock").exists() and not cgroups.is_alive(directory):
            shutil.rmtree(directory, ignore_errors=True)


def _claim(name: str) -> tuple[Path, IO[str]]:
    run_dirs().mkdir(parents=True, exist_ok=True)
    with (run_dirs().parent / "runs.lock").open("w") as turn:
        # one at a time, so that nobody's new directory is taken for a dead one
        fcntl.flock(turn, fcntl.LOCK_EX)
        _clean_stale()
        run_dir = run_dirs() / name
        run_dir.mkdir(exist_ok=True)
        lock = (run_dir / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise BootFailed(f"a lab named {name} is running") from error
    return run_dir, lock


def _drain(master: int, log: Path) -> None:
    # an unread console would stop the lab's PID 1 once the terminal's buffer is full
    with log.open("wb") as file, os.fdopen(master, "rb", buffering=0) as source:
        while True:
            try:
                data = source.read(65536)
            except OSError as error:
                if error.errno == errno.EIO:
                    return
                raise
            if not data:
                return
            file.write(data)
            file.flush()


def _start(plan: Plan, run_dir: Path, lock: IO[str]) -> subprocess.Popen[bytes]:
    master, slave = os.openpty()
    package_dir = str(Path(__file__).resolve().parents[1])
    argv = [
        # the lab ends with the process that booted it, even if that is killed
        *"setpriv --pdeathsig KILL unshare -m -p -f --mount-proc --kill-child=SIGKILL".split(),
        *(sys.executable, "-m", "lab.stage", plan.to_json()),
    ]
    env = {
        **os.environ,
        "PYTHONPATH": package_dir,
        "PYTHONDONTWRITEBYTECODE": "1",
        "NOTIFY_SOCKET": str(run_dir / "notify"),
    }
    process = subprocess.Popen(
        argv,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        # held by the lab itself too, so that it counts as alive until its last process is gone
        pass_fds=(lock.fileno(),),
        start_new_session=True,
    )
    os.close(slave)
    threading.Thread(target=_drain, args=(master, run_dir / "console.log"), daemon=True).start()
    return process


def _await_ready(process: subprocess.Popen[bytes], notify: socket.socket) -> None:
    pidfd = os.pidfd_open(process.pid)
    deadline = time.monotonic() + START_TIMEOUT_SEC
    try:
        while True:
            left_sec = deadline - time.monotonic()
            ready, _, _ = select.select([notify.fileno(), pidfd], [], [], max(0.0, left_sec))
            if not ready:
                raise BootFailed("not ready in time")
            if pidfd in ready:
                raise BootFailed("ended while starting")
            if b"READY=1" in notify.recv(65536).splitlines():
                return
    finally:
        os.close(pidfd)


def children(pid: int) -> list[int]:
    """The children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _find_leader(unshare: int) -> int:
    for nspawn in children(unshare):
        for child in children(nspawn):
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return child
    raise BootFailed("no PID 1 found")


def _raise_inotify_limit() -> None:
    """Let many systemds run: each takes several inotify instances, of which root has 128 on most machines."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    with contextlib.suppress(OSError):
        if int(limit.read_text()) < INOTIFY_INSTANCES:
            limit.write_text(f"{INOTIFY_INSTANCES}\n")


def start(name: str | None, bus: str, tree_name: str, guest: Path | None = None) -> Running:
    """Boot a lab and return when its multi-user target is reached."""
    needs.check()
    _raise_inotify_limit()
    name = cgroups.prefix(run_dirs()) + (name or secrets.token_hex(4))
    tree = host_tree(tree_name)
    run_dir, lock = _claim(name)
    began = time.monotonic()
    plan = Plan(name, str(tree), str(run_dir), bus, str(repository()), str(guest) if guest else None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        (run_dir / "notify").unlink(missing_ok=True)
        notify.bind(str(run_dir / "notify"))
        process = _start(plan, run_dir, lock)
        try:
            _await_ready(process, notify)
            leader = _find_leader(process.pid)
        except BaseException as error:
            Running(name, run_dir, process, lock, 0, 0.0).process.kill()
            process.wait()
            console = (run_dir / "console.log").read_text(errors="replace")[-6000:]
            Running(name, run_dir, process, lock, 0, 0.0).stop()
            if isinstance(error, BootFailed):
                raise BootFailed(f"{error}\n{console}") from error
            raise
    return Running(name, run_dir, process, lock, leader, time.monotonic() - began)
