"""Find the cgroup2 hierarchy, and remove the cgroups that dead labs left in it."""

from __future__ import annotations

import fcntl
from pathlib import Path

PREFIX = "isoctl-lab-"


def hierarchy() -> Path | None:
    """Where this machine has its cgroup2 hierarchy mounted, if anywhere."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    return None


def remove(cgroup: Path) -> None:
    """Kill what is left in a cgroup of ours and remove it as far as possible."""
    kill = cgroup / "cgroup.kill"
    if kill.exists():
        kill.write_text("1")
    for directory in sorted(cgroup.rglob("*"), key=lambda path: len(path.parts), reverse=True):
        if directory.is_dir():
            _rmdir(directory)
    _rmdir(cgroup)


def _rmdir(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        # still emptying; the next start of any lab tries again
        return


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
    for cgroup in root.glob(PREFIX + "*"):
        if not is_alive(run_dirs / cgroup.name):
            remove(cgroup)
