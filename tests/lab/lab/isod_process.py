"""isod as the kernel sees it: which process it is and what it holds."""

from __future__ import annotations

import os

from lab.machine import Lab


def pid(lab: Lab) -> int:
    """Isod's pid, as seen from outside; LookupError where it does not run."""
    processes = lab.host_path("/sys/fs/cgroup/system.slice/isod.service/cgroup.procs")
    pids = processes.read_text().split() if processes.exists() else []
    if len(pids) != 1:
        raise LookupError(f"isod is {pids}")
    return int(pids[0])


def open_fds(lab: Lab) -> list[str]:
    """What its descriptors lead to."""
    directory = f"/proc/{pid(lab)}/fd"
    found = []
    for fd in os.listdir(directory):
        try:
            found.append(os.readlink(f"{directory}/{fd}"))
        except FileNotFoundError:
            continue
    return sorted(found)


def rss_kib(lab: Lab) -> int:
    """How much memory it has."""
    with open(f"/proc/{pid(lab)}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
