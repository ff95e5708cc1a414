"""Find the cgroup2 hierarchy, and remove the cgroups that dead labs left in it."""

from __future__ import annotations

import fcntl
import hashlib
import threading
import time
from pathlib import Path

_PREFIX = "isoctl-lab"


def prefix(run_dirs: Path) -> str:
    """How the labs of one cache are called: those of another have their locks elsewhere, and would all look dead."""
    tag = hashlib.sha256(str(run_dirs.resolve()).encode()).hexdigest()[:4]
    return f"{_PREFIX}-{tag}-"


def hierarchy() -> Path | None:
    """Where this machine has its cgroup2 hierarchy mounted, if anywhere."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    return None


def remove(cgroup: Path, wait_sec: float = 0.0) -> None:
    """Kill what is left in a cgroup of ours and remove it as far as possible, waiting for it to empty."""
    deadline = time.monotonic() + wait_sec
    pause = threading.Event()
    while not _removed(cgroup) and time.monotonic() < deadline:
        pause.wait(0.02)


def _removed(cgroup: Path) -> bool:
    try:
        (cgroup / "cgroup.kill").write_text("1")
        for directory in sorted(cgroup.rglob("*"), key=lambda path: len(path.parts), reverse=True):
            if directory.is_dir():
                directory.rmdir()
        cgroup.rmdir()
    except FileNotFoundError:
        return not cgroup.exists()
    except OSError:
        # still emptying; the next start of any lab tries again
        return False
    return True


def is_alive(run_dir: Path) -> bool:
    """Whether some process still holds the lab's lock."""
    try:
        lock = (run_dir / "lock").open("r")
    except OSError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def remove_stale(root: Path, run_dirs: Path) -> None:
    """Remove the cgroups of labs whose processes are gone."""
    for cgroup in root.glob(prefix(run_dirs) + "*"):
        if not is_alive(run_dirs / cgroup.name):
            remove(cgroup)
